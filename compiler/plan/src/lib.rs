//! From an optimised graph to kernels in order, with every byte of memory placed.
//!
//! In: a checked graph. Out: a [`Plan`]: segments of packed weights, buffers with offsets and
//! lifetimes, kernels; and the packer that fills the segments. Invariant: backends accept only
//! `&Checked<Plan>`, so offsets and widths need no second check there.

mod activations;
mod dictionaries;
mod lower;
mod lower_error;
mod memory;
mod named;
mod pack;
mod panels;
mod plan;
mod segment;
mod spans;
mod text;
mod verify;
mod weight_expr;

pub use activations::Activations;
pub use dictionaries::Dictionaries;
pub use lower::{lower, Options};
pub use lower_error::LowerError;
pub use named::Named;
pub use pack::{pack, PackError};
pub use plan::{
    Attention, Buffer, BufferId, Dest, Embed, Kernel, LastHiddenState, LayerGroup, Linear, Plan, PrepareQkv,
    SelectAdapter, Swiglu,
};
pub use segment::{Home, Layout, Segment, SegmentId};
pub use spans::Span;
pub use text::parse;
pub use verify::PlanError;

/// Rounds up to a multiple of `to`.
pub fn round_up(n: u64, to: u64) -> u64 {
    n.div_ceil(to) * to
}
