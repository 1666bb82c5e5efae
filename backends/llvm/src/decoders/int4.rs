//! int4: a word is eight inputs as `q + 8`, the first four in lower halves of bytes; scales stand before each group.

use qwenc_formats::{InputLayout, Operand, ScaleType, PANEL_ROWS};

use crate::builder::{Code, Vector};
use crate::decoders::{int8, layout_of, GroupPlace, IntDecoder, PanelRows};
use crate::isa::Bytes;

/// Decoder of int4.
pub(crate) struct Int4 {
    pub format: Operand,
    pub group: u32,
    pub scales: ScaleType,
}

impl IntDecoder for Int4 {
    fn inputs(&self) -> InputLayout {
        layout_of(self.format)
    }

    fn bytes(&self) -> Bytes {
        Bytes { bias: 8, largest: 15 }
    }

    fn group_bytes(&self) -> u64 {
        self.format.group_bytes(u64::from(self.group))
    }

    fn units_at(&self, _part: u64) -> u64 {
        u64::from(PANEL_ROWS) * self.scales.bytes()
    }

    fn scales<'c>(
        &self,
        c: &Code<'c, '_>,
        place: GroupPlace<'c>,
        _part: u64,
        rows: PanelRows<'c>,
    ) -> Vector<'c> {
        int8::scales(c, self.scales, place.block, rows)
    }

    fn unit(&self) -> u64 {
        8
    }

    fn quad<'c>(&self, c: &Code<'c, '_>, words: &[Vector<'c>], quad: u64) -> Vector<'c> {
        half_bytes(c, words[0], quad)
    }
}

/// Lower (0) or upper (1) halves of the bytes of some words.
pub(crate) fn half_bytes<'c>(c: &Code<'c, '_>, words: Vector<'c>, half: u64) -> Vector<'c> {
    let number = |n: u64| c.ints(c.i32(), n, words.get_type().get_size());
    let shifted = if half == 0 { words } else { c.lshr_vec(words, number(4)) };
    c.and_vec(shifted, number(0x0F0F_0F0F))
}
