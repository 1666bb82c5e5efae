//! How weights are stored and packed: one file per format.
//!
//! In: rows of a tensor as a checkpoint holds them. Out: their values as f32, and panels in the order in which kernels
//! read them. Invariant: a format's file alone knows where its bits are. `registry.rs` lists the formats: [`DType`]s are
//! how files keep a tensor, [`Operand`]s how kernels read one; nothing else in this crate goes through them one by one.

mod bf12;
mod bf16;
mod f16;
mod f32;
mod inputs;
mod int4;
mod int8;
mod operand;
mod panel;
mod q4_1;
mod q4_k;
mod q5_k;
mod q6_k;
mod registry;
mod scales;
mod storage;
mod tensor;

pub use bf12::Bf12;
pub use inputs::Inputs;
pub use panel::{Misfit, Panel, PanelRow, LANES, PANEL_ROWS};
pub use registry::{DType, Operand};
pub use scales::{ScaleType, Scales, NOTHING};
pub use storage::max_abs;
pub use tensor::{Tensor, WeightError};
