//! int8: a word is four inputs as `q + 128`; scales stand before each group.

use qwenc_formats::{InputLayout, Operand, ScaleType, PANEL_ROWS};

use crate::builder::{Code, Ptr, Vector};
use crate::decoders::{layout_of, GroupPlace, IntDecoder, PanelRows};
use crate::isa::Bytes;

/// Decoder of int8.
pub(crate) struct Int8 {
    pub format: Operand,
    pub group: u32,
    pub scales: ScaleType,
}

impl IntDecoder for Int8 {
    fn inputs(&self) -> InputLayout {
        layout_of(self.format)
    }

    fn bytes(&self) -> Bytes {
        Bytes { bias: 128, largest: 255 }
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
        scales(c, self.scales, place.block, rows)
    }

    fn unit(&self) -> u64 {
        4
    }

    fn quad<'c>(&self, _c: &Code<'c, '_>, words: &[Vector<'c>], _quad: u64) -> Vector<'c> {
        words[0]
    }
}

/// Scales of some rows that stand before a group's integers.
pub(crate) fn scales<'c>(c: &Code<'c, '_>, ty: ScaleType, group: Ptr<'c>, rows: PanelRows<'c>) -> Vector<'c> {
    match ty {
        ScaleType::F32 => rows.floats(c, group),
        ScaleType::F16 => rows.halfs(c, group),
    }
}
