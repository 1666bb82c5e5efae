//! Weight formats: storage layout, reference reader, quantiser and panel layout, one file per format.
//!
//! In: rows of a tensor as a checkpoint holds them. Out: their values as f32, and panels in the order in which kernels
//! read them. Invariant: the layout of a format is known to its own file alone. `registry.rs` lists the storage formats of files
//! ([`DType`]) and the operand formats of kernels ([`Operand`]).

mod bf12;
mod bf16;
mod blocks;
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

pub use bf12::{Bf12, Dictionary};
pub use inputs::{InputLayout, Inputs};
pub use panel::{Misfit, Panel, PanelRow, LANES, PANEL_ROWS};
pub use q4_k::Q4K;
pub use q6_k::Q6K;
pub use registry::{DType, Operand};
pub use scales::{ScaleType, Scales, NOTHING};
pub use storage::max_abs;
pub use tensor::{Tensor, WeightError};
