//! A byte-pair vocabulary as one block of bytes.
//!
//! To read 150,000 tokens and as many merges from JSON and to hash them takes longer than a first token should, so
//! it is done once, when compiling: [`prepare`] (`json.rs`, then `write.rs`) makes a block, and [`Bpe`] finds tokens in
//! it where it lies, in a mapped file (`block.rs`), and puts words together from them (`encode.rs`).
//! Both sides have one hash (`hash.rs`).
//!
//! A tokenizer.json has more than a vocabulary: all the rest stands behind the block, as it was. What is not a plain
//! BPE vocabulary is not for this crate.

mod block;
mod encode;
mod hash;
mod json;
mod write;

pub use block::{Bpe, Damaged, Prepared};
pub use encode::Piece;
pub use json::prepare;
