//! Bytes of an image that no section has: padding, and what the footer reserves.
//!
//! In: an image's bytes and its footer. Out: the first of them that is not as the compiler writes it. Invariant: with
//! the sections' hash, this leaves no byte of an image that `verify` has not looked at.

use qwenc_abi::{Footer, FOOTER_BYTES};

/// Offset and value of the first unused byte that is not 0.
pub(super) fn first(image: &[u8], footer: &Footer) -> Option<(usize, u8)> {
    let body = image.len().checked_sub(FOOTER_BYTES)?;
    let mut sections = [footer.weights, footer.tokenizer, footer.metadata];
    sections.sort_by_key(|section| section.offset);
    let mut from = 0;
    let mut gaps = Vec::new();
    for section in sections {
        gaps.push(from..section.offset as usize);
        from = from.max((section.offset + section.bytes) as usize);
    }
    gaps.push(from..body);
    let mut in_gaps = gaps.into_iter().flatten().map(|at| (at, image[at])).filter(|&(_, byte)| byte != 0);
    let stored = image[body..].iter().zip(footer.encode()).enumerate();
    // Decoded fields encode to the same bytes, so a difference is a reserved byte.
    let mut reserved =
        stored.filter(|(_, (found, encoded))| *found != encoded).map(|(i, (&found, _))| (body + i, found));
    in_gaps.next().or_else(|| reserved.next())
}
