//! Scratch memory on the device.
//!
//! In: a plan and its linears. Out: offsets that the generated code is made with, and the sizes that the runtime
//! reserves. Invariant: what grows with the rows is reserved in whole tiles of [`ROW_TILE`] rows.
//!
//! The arena is, in this order: partial sums of split linears; the plan's buffers and the candidates of the pick, each
//! reserved for all rows; results of attention over parts of the positions.

use qwenc_abi::CudaArena;
use qwenc_plan::{round_up, Plan};

use crate::linear::Linear;
use crate::schedule::{padded_head_dim, DECODE_ROWS, PART, PICK_BLOCKS, ROW_TILE};

/// Offsets, and totals for the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    /// Bytes before what grows with the rows.
    pub fixed: u64,
    /// Bytes per row before the candidates: those of the plan's buffers.
    pub candidates: u64,
    /// Bytes per row of all.
    pub rows: u64,
    /// Bytes per position of the cache.
    pub per_position: u64,
}

impl Arena {
    /// For this plan.
    pub(crate) fn of(plan: &Plan, linears: &[Linear]) -> Arena {
        let partials = linears.iter().map(|l| l.shape.partial_bytes(DECODE_ROWS)).max().unwrap_or(0);
        let candidates = plan.row_bytes;
        let rows = candidates + 8 * u64::from(PICK_BLOCKS);
        let dims = &plan.dims;
        let record = 4 * (padded_head_dim(dims.head_dim) + 4);
        let records = u64::from(DECODE_ROWS) * u64::from(dims.heads) * u64::from(record);
        Arena {
            fixed: round_up(partials, 256),
            candidates,
            rows,
            per_position: records.div_ceil(u64::from(PART)),
        }
    }

    /// Sizes for the runtime.
    pub(crate) fn sizes(&self) -> CudaArena {
        CudaArena {
            fixed: self.fixed,
            per_row: self.rows,
            row_tile: ROW_TILE,
            per_position: self.per_position,
        }
    }
}

/// Bytes of KV cache per position, over all layers, in f32, bf16 and int8.
pub(crate) fn kv_bytes_per_position(plan: &Plan) -> [u64; 3] {
    let dims = &plan.dims;
    let heads = u64::from(dims.kv_heads);
    let width = heads * u64::from(padded_head_dim(dims.head_dim));
    [4 * width, 2 * width, width + 4 * heads].map(|bytes| 2 * u64::from(dims.layers) * bytes)
}
