//! Q6_K: a unit is 16 inputs: words of lower halves, as of int4, and one of upper bits; scales are products of a part's byte and
//! its block's f16.

use qwenc_formats::{InputLayout, Operand, PANEL_ROWS, Q6K};

use crate::builder::{Code, Int, Ptr, Vector};
use crate::decoders::int4::half_bytes;
use crate::decoders::{layout_of, GroupPlace, IntDecoder, PanelRows};
use crate::isa::Bytes;

/// Decoder of Q6_K.
pub(crate) struct Q6k;

impl IntDecoder for Q6k {
    fn inputs(&self) -> InputLayout {
        layout_of(Operand::Q6K)
    }

    fn bytes(&self) -> Bytes {
        Bytes { bias: 32, largest: 63 }
    }

    fn group_bytes(&self) -> u64 {
        Q6K::BLOCK_BYTES / Q6K::GROUPS
    }

    fn place<'c>(&self, c: &Code<'c, '_>, panel: Ptr<'c>, group: Int<'c>) -> GroupPlace<'c> {
        let (block, group) = (c.div(group, c.int(Q6K::GROUPS)), c.rem(group, c.int(Q6K::GROUPS)));
        let block = c.at(panel, c.times(block, Q6K::BLOCK_BYTES));
        let group = c.at(block, c.add(c.int(Q6K::GROUPS_AT), c.times(group, Q6K::GROUP_BYTES)));
        GroupPlace { block, group }
    }

    fn part_cols(&self) -> u64 {
        16
    }

    fn units_at(&self, part: u64) -> u64 {
        Q6K::PARTS + part * Q6K::PART_BYTES
    }

    fn scales<'c>(
        &self,
        c: &Code<'c, '_>,
        place: GroupPlace<'c>,
        part: u64,
        rows: PanelRows<'c>,
    ) -> Vector<'c> {
        // The first part's scale is the lower byte of each pair.
        let pairs = c.sext_vec(rows.integers(c, c.i16(), place.group), c.vec_i32(rows.lanes));
        let number = |n: u64| c.ints(c.i32(), n, rows.lanes);
        let scales = match part {
            0 => c.shr_vec(c.shl_vec(pairs, number(24)), number(24)),
            _ => c.shr_vec(pairs, number(8)),
        };
        c.vmul(rows.halfs(c, place.block), c.to_float(scales, c.vec_f32(rows.lanes)))
    }

    fn unit(&self) -> u64 {
        16
    }

    fn unit_bytes(&self) -> u64 {
        Q6K::PART_BYTES
    }

    fn words<'c>(&self, c: &Code<'c, '_>, unit: Ptr<'c>, rows: PanelRows<'c>) -> Vec<Vector<'c>> {
        let all = [0, 4 * u64::from(PANEL_ROWS), Q6K::HIGH];
        all.map(|at| rows.integers(c, c.i32(), c.plus(unit, at))).to_vec()
    }

    fn quad<'c>(&self, c: &Code<'c, '_>, words: &[Vector<'c>], quad: u64) -> Vector<'c> {
        let number = |n: u64| c.ints(c.i32(), n, words[2].get_type().get_size());
        let low = half_bytes(c, words[quad as usize / 2], quad % 2);
        // Bits `2 · quad` of every byte, to bits 4 and 5.
        let shifted = match quad {
            0 | 1 => c.shl_vec(words[2], number(4 - 2 * quad)),
            _ => c.lshr_vec(words[2], number(2 * quad - 4)),
        };
        c.add_vec(low, c.and_vec(shifted, number(0x3030_3030)))
    }
}
