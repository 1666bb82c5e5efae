//! Rows of a panel that are read into one vector: half of them, or a single one.
//!
//! In: an array of numbers, one for each of the panel's rows. Out: those of some rows. Invariant: decoders compute lane by
//! lane, so that a row alone has the bits that it has among the others.

use inkwell::types::IntType;
use qwenc_formats::LANES;

use crate::builder::{Code, Int, Ptr, Vector};

/// Consecutive rows of a panel.
#[derive(Clone, Copy)]
pub(crate) struct PanelRows<'c> {
    first: Int<'c>,
    /// Number of rows, which is that of a vector's lanes.
    pub lanes: u32,
}

impl<'c> PanelRows<'c> {
    /// Both halves of a panel.
    pub fn halves(c: &Code<'c, '_>) -> [PanelRows<'c>; 2] {
        [0, LANES].map(|first| PanelRows { first: c.int(u64::from(first)), lanes: LANES })
    }

    /// A single row.
    pub fn one(row: Int<'c>) -> PanelRows<'c> {
        PanelRows { first: row, lanes: 1 }
    }

    /// The rows' numbers of an array of numbers of `bytes` bytes.
    fn at(self, c: &Code<'c, '_>, array: Ptr<'c>, bytes: u64) -> Ptr<'c> {
        c.at(array, c.times(self.first, bytes))
    }

    /// The rows' integers of an array, which is aligned as half of it.
    pub fn integers(self, c: &Code<'c, '_>, ty: IntType<'c>, array: Ptr<'c>) -> Vector<'c> {
        let bytes = ty.get_bit_width() / 8;
        let from = self.at(c, array, u64::from(bytes));
        c.load_vec(ty.vec_type(self.lanes), from, bytes * self.lanes)
    }

    /// The rows' floats of an array, aligned likewise.
    pub fn floats(self, c: &Code<'c, '_>, array: Ptr<'c>) -> Vector<'c> {
        c.load_vec(c.vec_f32(self.lanes), self.at(c, array, 4), 4 * self.lanes)
    }

    /// The rows' numbers of an array of finite f16, as f32.
    pub fn halfs(self, c: &Code<'c, '_>, array: Ptr<'c>) -> Vector<'c> {
        c.load_f16(self.at(c, array, 2), self.lanes)
    }
}
