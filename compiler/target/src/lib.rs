//! Target: the interface through which optimiser and plan ask a backend about its kernels.
//!
//! In: an op, a format, a model's dimensions, a linear. Out: whether the target has kernels for it, and the scratch memory that
//! they need. Invariant: an answer depends on the question and the target alone, so that optimiser, plan and code generator,
//! which all ask, agree.
//!
//! A backend implements [`Target`]; `qwenc-opt` and `qwenc-plan` know no backend. How a target shares out a kernel among
//! threads, warps or blocks is its own business.

use qwenc_formats::{Inputs, Operand};
use qwenc_ir::{Dims, Op};

/// A linear, as far as its scratch memory depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Operand format of the weights.
    pub format: Operand,
    /// Columns of the weights: inputs of a row.
    pub cols: u32,
    /// Form in which the inputs meet the weights.
    pub inputs: Inputs,
    /// Whether the inputs are normalised first.
    pub norm: bool,
}

/// A model that is beyond a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {found}: --target {target} does up to {most}; {instead}")]
pub struct Limit {
    /// Name of the target.
    pub target: &'static str,
    /// Name of the dimension, with its article.
    pub what: &'static str,
    /// Size of the dimension in the model.
    pub found: u32,
    /// Largest size that the target's kernels do.
    pub most: u32,
    /// Advice to the user.
    pub instead: &'static str,
}

/// A device that code is generated for.
pub trait Target {
    /// Whether the target has a kernel for the op; by default for every op that plans have kernels for. Ops that are gone once
    /// weights are packed need none.
    fn has_kernel(&self, op: Op) -> bool {
        is_planned(op)
    }

    /// Whether kernels read weights in the format.
    fn reads(&self, format: Operand) -> bool;

    /// The first of the model's dimensions that is beyond the target's kernels.
    fn check(&self, dims: &Dims) -> Result<(), Limit>;

    /// Bytes of scratch memory that a linear needs for each of its rows while it runs; 0: none.
    fn scratch_row_bytes(&self, linear: &LinearShape) -> u64;
}

/// Whether a plan has a kernel for the op.
fn is_planned(op: Op) -> bool {
    match op {
        Op::Embed
        | Op::Linear
        | Op::LinearAdd
        | Op::NormLinear(_)
        | Op::NormSwiglu(_)
        | Op::LmHead
        | Op::NormLmHead(_)
        | Op::PrepareQkv(_)
        | Op::PreparedAttention
        | Op::SelectAdapter { .. }
        | Op::Swiglu => true,
        Op::Input
        | Op::Weight(_)
        | Op::Absent
        | Op::ConcatRows
        | Op::ScaleCols
        | Op::Diagonal
        | Op::RmsNorm(_)
        | Op::Normalize(_)
        | Op::HeadNorm(_)
        | Op::HeadNormRope(_)
        | Op::Rope
        | Op::Scores
        | Op::Softmax
        | Op::WeightedSum
        | Op::Attention
        | Op::Silu
        | Op::Mul
        | Op::Add
        | Op::CausalMask
        | Op::Dequant
        | Op::CacheAppend(_)
        | Op::RepeatKv
        | Op::Slice { .. } => false,
    }
}

/// Target without a device, for graphs and plans that are only printed. It reads every format but f16 and bf12, in whose place
/// plans can have f32 and bf16.
#[derive(Clone, Copy, Debug)]
pub struct NoDevice;

impl Target for NoDevice {
    fn reads(&self, format: Operand) -> bool {
        !matches!(format, Operand::F16 | Operand::Bf12)
    }

    fn check(&self, _: &Dims) -> Result<(), Limit> {
        Ok(())
    }

    fn scratch_row_bytes(&self, _: &LinearShape) -> u64 {
        0
    }
}
