//! f32: a word is a weight.

use crate::builder::{Code, Vector};
use crate::decoders::FloatDecoder;

/// Decoder of f32.
pub(crate) struct F32;

impl FloatDecoder for F32 {
    fn inputs_per_read(&self) -> u64 {
        1
    }

    fn columns<'c>(&self, c: &Code<'c, '_>, words: Vector<'c>) -> Vec<Vector<'c>> {
        vec![c.bits(words, c.vec_f32(words.get_type().get_size()))]
    }
}
