//! A matrix as kernels read it: panels of [`PANEL_ROWS`] output rows, each read front to back by one pass over the
//! inputs, so that a kernel streams a panel with no stride.
//!
//! In: rows of tensors. Out: a panel's bytes. Invariant: zero rows pad the last panel; each format's file says where its
//! elements lie.

use crate::tensor::Tensor;

/// Rows of a panel: two vectors of [`LANES`].
pub const PANEL_ROWS: u32 = 32;
/// Lanes of the vectors in which kernels compute.
pub const LANES: u32 = 16;

/// Rows of a panel, as a count of elements.
pub(crate) const ROWS: usize = PANEL_ROWS as usize;

/// Stored bytes of each lane of a panel; `None` is padding.
pub(crate) type StoredRows<'a> = [Option<&'a [u8]>; ROWS];

/// A row of a panel.
#[derive(Clone, Copy, Debug)]
pub struct PanelRow<'a> {
    /// Source tensor.
    pub tensor: &'a Tensor<'a>,
    /// Row index in the source tensor.
    pub row: usize,
    /// Column offset in the panel; 0 for all formats but f32.
    pub first: usize,
}

/// Rows of a weight matrix that are packed into one panel.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a> {
    /// Row of each lane; `None` is padding.
    pub rows: [Option<PanelRow<'a>>; ROWS],
    /// Number of columns.
    pub cols: u32,
    /// Norm gain to multiply the columns with; f32 only.
    pub gain: Option<&'a [f32]>,
}

impl<'a> Panel<'a> {
    /// Rows that are no padding, with the lane that each stands in.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (usize, PanelRow<'a>)> + '_ {
        self.rows.iter().enumerate().filter_map(|(lane, row)| row.map(|row| (lane, row)))
    }

    /// The stored bytes of every row.
    pub(crate) fn stored(&self) -> StoredRows<'a> {
        self.rows.map(|row| row.map(|row| row.tensor.row_bytes(row.row)))
    }

    /// The stored scales of every row.
    pub(crate) fn scales(&self) -> StoredRows<'a> {
        self.rows.map(|row| row.map(|row| row.tensor.row_scales(row.row)))
    }
}

/// Error: a panel does not fit its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Number of elements that cannot be represented.
    pub exceptions: u64,
}

/// `n` up to a multiple of `to`.
pub(crate) fn round_up(n: u64, to: u64) -> u64 {
    n.div_ceil(to) * to
}
