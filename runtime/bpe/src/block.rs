//! The block: a vocabulary in bytes, and how it is searched there.
//!
//! In: bytes that `write.rs` made, or anything else. Out: [`Bpe`], and what stands behind the block. Invariant: every
//! access is checked, so that a damaged block gives wrong tokens at worst. Opening one reads nothing but its head.
//!
//! All numbers are little-endian. A head of [`HEAD`] bytes: [`MAGIC`], then as u32 the flags (1: whole words), the number of
//! tokens, of slots for tokens and for merges (powers of two), the bytes of all texts and 0. Then, without gaps:
//!
//! | part | of each | |
//! |---|---|---|
//! | ends | u32 | of each token by id, where its text ends |
//! | slots for tokens | 2 u32 | id plus 1, where 0 is free; upper half of the text's hash |
//! | slots for merges | 4 u32 | left, right, rank, the merged token's id plus 1, where 0 is free |
//! | texts | u8 | of all tokens, in UTF-8, in the order of their ids |

use std::fmt;

use bytes::Bytes;

use crate::hash;

/// Magic bytes of a block; the last digit is the version of its layout.
pub const MAGIC: [u8; 8] = *b"QWENBPE1";
/// Bytes of the head.
pub const HEAD: usize = 32;
/// Flag: a word that is a token is that token, whatever the merges say.
pub const WHOLE_WORDS: u32 = 1;
/// Bytes of where a token's text ends.
pub const END: usize = 4;
/// Bytes of a slot for a token.
pub const TOKEN_SLOT: usize = 8;
/// Bytes of a slot for a merge.
pub const MERGE_SLOT: usize = 16;

/// A vocabulary and how words are put together from it. Clones share the bytes.
#[derive(Clone)]
pub struct Bpe {
    bytes: Bytes,
    pub(crate) whole_words: bool,
    tokens: usize,
    token_slots: usize,
    merge_slots: usize,
}

/// Tables made of a tokenizer.json.
pub struct Prepared {
    /// Its vocabulary.
    pub bpe: Bpe,
    /// The tokenizer.json without its model.
    pub rest: Bytes,
}

/// A block that was cut short, or overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Bytes that its head promises.
    pub expected: u64,
    /// Bytes that there are.
    pub found: u64,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "the vocabulary should have {} bytes, and there are {}", self.expected, self.found)
    }
}

impl std::error::Error for Damaged {}

impl Prepared {
    /// `None` if `bytes` begin otherwise than a block.
    pub fn open(bytes: &Bytes) -> Option<Result<Prepared, Damaged>> {
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        Some(Prepared::read(bytes))
    }

    fn read(bytes: &Bytes) -> Result<Prepared, Damaged> {
        let damaged = |expected| Damaged { expected, found: bytes.len() as u64 };
        let head = bytes.first_chunk::<HEAD>().ok_or_else(|| damaged(HEAD as u64))?;
        let number = |i: usize| u32_at(head, 8 + 4 * i).unwrap_or(0) as usize;
        let [flags, tokens, token_slots, merge_slots, text] = std::array::from_fn(number);
        // At most 2^32 times 29 bytes: no overflow.
        let end = HEAD + END * tokens + TOKEN_SLOT * token_slots + MERGE_SLOT * merge_slots + text;
        if end > bytes.len() {
            return Err(damaged(end as u64));
        }
        let whole_words = flags as u32 & WHOLE_WORDS != 0;
        let bpe = Bpe { bytes: bytes.slice(..end), whole_words, tokens, token_slots, merge_slots };
        Ok(Prepared { bpe, rest: bytes.slice(end..) })
    }
}

impl Bpe {
    /// Number of tokens; their ids count up from 0.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The text of `id`.
    pub fn text(&self, id: u32) -> Option<&str> {
        std::str::from_utf8(self.text_bytes(id)?).ok()
    }

    /// The id of the token `text`.
    pub fn id(&self, text: &[u8]) -> Option<u32> {
        let hash = hash::of_text(text);
        for at in hash::probes(hash, self.token_slots) {
            let [id, upper] = self.numbers(self.slots_at() + TOKEN_SLOT * at)?;
            let id = id.checked_sub(1)?;
            if upper == (hash >> 32) as u32 && self.text_bytes(id) == Some(text) {
                return Some(id);
            }
        }
        None
    }

    /// Rank and merged token of two neighbours, if they become one.
    pub(crate) fn merge(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        for at in hash::probes(hash::of_pair(left, right), self.merge_slots) {
            let [l, r, rank, merged] = self.numbers(self.merges_at() + MERGE_SLOT * at)?;
            let merged = merged.checked_sub(1)?;
            if (l, r) == (left, right) {
                return Some((rank, merged));
            }
        }
        None
    }

    fn text_bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        if id >= self.tokens {
            return None;
        }
        let end = |id: usize| u32_at(&self.bytes, HEAD + END * id).map(|end| end as usize);
        let start = if id == 0 { 0 } else { end(id - 1)? };
        let texts = self.merges_at() + MERGE_SLOT * self.merge_slots;
        self.bytes.get(texts + start..texts + end(id)?)
    }

    fn slots_at(&self) -> usize {
        HEAD + END * self.tokens
    }

    fn merges_at(&self) -> usize {
        self.slots_at() + TOKEN_SLOT * self.token_slots
    }

    fn numbers<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        let mut all = [0; N];
        for (i, number) in all.iter_mut().enumerate() {
            *number = u32_at(&self.bytes, at + 4 * i)?;
        }
        Some(all)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number))
}
