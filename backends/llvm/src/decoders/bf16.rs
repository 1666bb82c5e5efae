//! bf16: a word is the weights of two neighbouring inputs.

use crate::builder::{Code, Vector};
use crate::decoders::FloatDecoder;

/// Decoder of bf16.
pub(crate) struct Bf16;

impl FloatDecoder for Bf16 {
    fn inputs_per_read(&self) -> u64 {
        2
    }

    fn columns<'c>(&self, c: &Code<'c, '_>, words: Vector<'c>) -> Vec<Vector<'c>> {
        c.bf16_pair(words).to_vec()
    }
}
