//! f16: a read is one input, whose words of two bytes are weights.

use qwenc_formats::PANEL_ROWS;

use crate::builder::{Code, Ptr, Vector};
use crate::decoders::{FloatDecoder, PanelRows};

/// Decoder of f16; without instructions for it, of finite values.
pub(crate) struct F16;

impl FloatDecoder for F16 {
    fn inputs_per_read(&self) -> u64 {
        1
    }

    fn read_bytes(&self) -> u64 {
        2 * u64::from(PANEL_ROWS)
    }

    fn words<'c>(&self, c: &Code<'c, '_>, read: Ptr<'c>, rows: PanelRows<'c>) -> Vector<'c> {
        rows.integers(c, c.i16(), read)
    }

    fn columns<'c>(&self, c: &Code<'c, '_>, words: Vector<'c>) -> Vec<Vector<'c>> {
        vec![c.f16_to_f32(words)]
    }
}
