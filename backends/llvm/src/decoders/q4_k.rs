//! Q4_K: a word is eight inputs, the first four in lower halves of bytes; scales and minima are products of a group's bytes
//! and its block's f16.

use qwenc_formats::{InputLayout, Operand, Q4K};

use crate::builder::{Code, Int, Ptr, Vector};
use crate::decoders::int4::half_bytes;
use crate::decoders::{layout_of, GroupPlace, IntDecoder, PanelRows};
use crate::isa::Bytes;

/// Decoder of Q4_K.
pub(crate) struct Q4k;

impl IntDecoder for Q4k {
    fn inputs(&self) -> InputLayout {
        layout_of(Operand::Q4K)
    }

    fn bytes(&self) -> Bytes {
        Bytes { bias: 0, largest: 15 }
    }

    fn group_bytes(&self) -> u64 {
        Q4K::BLOCK_BYTES / Q4K::GROUPS
    }

    fn place<'c>(&self, c: &Code<'c, '_>, panel: Ptr<'c>, group: Int<'c>) -> GroupPlace<'c> {
        let (block, group) = (c.div(group, c.int(Q4K::GROUPS)), c.rem(group, c.int(Q4K::GROUPS)));
        let block = c.at(panel, c.times(block, Q4K::BLOCK_BYTES));
        let group = c.at(block, c.add(c.int(Q4K::GROUPS_AT), c.times(group, Q4K::GROUP_BYTES)));
        GroupPlace { block, group }
    }

    fn units_at(&self, _part: u64) -> u64 {
        Q4K::OCTETS
    }

    fn scales<'c>(
        &self,
        c: &Code<'c, '_>,
        place: GroupPlace<'c>,
        _part: u64,
        rows: PanelRows<'c>,
    ) -> Vector<'c> {
        let pairs = pairs(c, place, rows);
        let scales = c.and_vec(pairs, c.ints(c.i32(), 255, rows.lanes));
        c.vmul(rows.halfs(c, place.block), c.to_float(scales, c.vec_f32(rows.lanes)))
    }

    fn minima<'c>(
        &self,
        c: &Code<'c, '_>,
        place: GroupPlace<'c>,
        _part: u64,
        rows: PanelRows<'c>,
    ) -> Option<Vector<'c>> {
        let minima = c.lshr_vec(pairs(c, place, rows), c.ints(c.i32(), 8, rows.lanes));
        let of_block = rows.halfs(c, c.plus(place.block, Q4K::MINIMA));
        Some(c.vmul(of_block, c.to_float(minima, c.vec_f32(rows.lanes))))
    }

    fn unit(&self) -> u64 {
        8
    }

    fn quad<'c>(&self, c: &Code<'c, '_>, words: &[Vector<'c>], quad: u64) -> Vector<'c> {
        half_bytes(c, words[0], quad)
    }
}

/// A group's scales, and minima in the bytes above.
fn pairs<'c>(c: &Code<'c, '_>, place: GroupPlace<'c>, rows: PanelRows<'c>) -> Vector<'c> {
    c.zext_vec(rows.integers(c, c.i16(), place.group), c.vec_i32(rows.lanes))
}
