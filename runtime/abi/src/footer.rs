//! The last [`FOOTER_BYTES`] bytes of a file that carries a weights image.
//!
//! A weights image is `[weights][tokenizer][metadata JSON][footer]`, starting at a multiple of
//! the page size. It stands at the end of an executable (`--weights embed`) or is a file of its own
//! (`--weights external`); offsets are relative to the image's start, which is the file's length
//! minus `image_bytes`. All integers little-endian.

use serde::{Deserialize, Serialize};

use crate::Identity;

/// Size of the encoded footer.
pub const FOOTER_BYTES: usize = 192;
const MAGIC: [u8; 8] = *b"QWENCIMG";
const VERSION: u32 = 1;

/// A byte range within the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// From the start of the image.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Section {
    /// The range within `bytes`; none if it ends behind them.
    pub fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        let end = self.offset.checked_add(self.bytes)?;
        bytes.get(usize::try_from(self.offset).ok()?..usize::try_from(end).ok()?)
    }
}

/// Footer of a weights image: places of its sections, and its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Length of the whole image, footer included.
    pub image_bytes: u64,
    /// The packed weights.
    pub weights: Section,
    /// tokenizer.json, or what `qwenc-bpe` makes of it; may be empty.
    pub tokenizer: Section,
    /// JSON object: see `docs/model-bin.md`.
    pub metadata: Section,
    /// The code that this image was packed for, and the image's own hash.
    pub identity: Identity,
}

/// Why the end of a file is not a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FooterError {
    /// No magic: the file carries no image (a stripped executable, or one cut short).
    Missing,
    /// A version that this code does not read.
    Version(u32),
    /// A section or the image reaches outside the file.
    OutOfBounds,
}

impl Footer {
    /// The encoded form.
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0u8; FOOTER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let numbers = [
            self.image_bytes,
            self.weights.offset,
            self.weights.bytes,
            self.tokenizer.offset,
            self.tokenizer.bytes,
            self.metadata.offset,
            self.metadata.bytes,
        ];
        for (i, n) in numbers.iter().enumerate() {
            out[16 + 8 * i..24 + 8 * i].copy_from_slice(&n.to_le_bytes());
        }
        out[72..104].copy_from_slice(&self.identity.code_id);
        out[104..136].copy_from_slice(&self.identity.weights_id);
        out
    }

    /// Reads the last bytes of a file of `file_bytes` bytes; checks every range against the file.
    pub fn decode(tail: &[u8; FOOTER_BYTES], file_bytes: u64) -> Result<Footer, FooterError> {
        if tail[..8] != MAGIC {
            return Err(FooterError::Missing);
        }
        let version = u32::from_le_bytes([tail[8], tail[9], tail[10], tail[11]]);
        if version != VERSION {
            return Err(FooterError::Version(version));
        }
        let number = |i: usize| {
            let mut b = [0u8; 8];
            b.copy_from_slice(&tail[16 + 8 * i..24 + 8 * i]);
            u64::from_le_bytes(b)
        };
        let id = |at: usize| {
            let mut b = [0u8; 32];
            b.copy_from_slice(&tail[at..at + 32]);
            b
        };
        let section = |i: usize| Section { offset: number(i), bytes: number(i + 1) };
        let footer = Footer {
            image_bytes: number(0),
            weights: section(1),
            tokenizer: section(3),
            metadata: section(5),
            identity: Identity { code_id: id(72), weights_id: id(104) },
        };
        let body = footer.image_bytes.checked_sub(FOOTER_BYTES as u64);
        let body = body.filter(|_| footer.image_bytes <= file_bytes).ok_or(FooterError::OutOfBounds)?;
        for s in [footer.weights, footer.tokenizer, footer.metadata] {
            match s.offset.checked_add(s.bytes) {
                Some(end) if end <= body => {}
                _ => return Err(FooterError::OutOfBounds),
            }
        }
        Ok(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Footer {
        Footer {
            image_bytes: 8192,
            weights: Section { offset: 0, bytes: 4096 },
            tokenizer: Section { offset: 4096, bytes: 100 },
            metadata: Section { offset: 4196, bytes: 20 },
            identity: Identity { code_id: [1; 32], weights_id: [2; 32] },
        }
    }

    #[test]
    fn round_trips() {
        let f = sample();
        assert_eq!(Footer::decode(&f.encode(), 10_000), Ok(f));
    }

    #[test]
    fn a_section_is_within_its_bytes_or_none() {
        let of = |offset, bytes| Section { offset, bytes }.of(b"abcd");
        assert_eq!((of(1, 2), of(4, 0), of(0, 4)), (Some(&b"bc"[..]), Some(&b""[..]), Some(&b"abcd"[..])));
        assert_eq!((of(1, 4), of(5, 0), of(1, u64::MAX)), (None, None, None));
    }

    #[test]
    fn hostile_ranges_are_refused() {
        assert_eq!(Footer::decode(&sample().encode(), 8191), Err(FooterError::OutOfBounds));
        let mut f = sample();
        f.metadata.bytes = u64::MAX;
        assert_eq!(Footer::decode(&f.encode(), 10_000), Err(FooterError::OutOfBounds));
        let mut f = sample();
        f.image_bytes = 10;
        assert_eq!(Footer::decode(&f.encode(), 10_000), Err(FooterError::OutOfBounds));
        assert_eq!(Footer::decode(&[0; FOOTER_BYTES], 10_000), Err(FooterError::Missing));
    }
}
