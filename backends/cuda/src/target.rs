//! NVIDIA GPUs as a target of the compiler.
//!
//! In: a format, a model's dimensions, a linear. Out: whether the device code does it, and the scratch memory that it needs.
//! Invariant: what is refused here is refused before a plan is made.

use qwenc_formats::Operand;
use qwenc_ir::Dims;
use qwenc_target::{Limit, LinearShape, Target};

use crate::decoder::Decoder;
use crate::row::Row;

/// A GPU of any architecture that qwenc generates code for.
#[derive(Clone, Copy, Debug)]
pub struct Gpu;

/// Dimensions of the largest head whose fragments fit a warp's registers.
const LARGEST_HEAD: u32 = 256;

impl Target for Gpu {
    fn reads(&self, format: Operand) -> bool {
        Decoder::of(format).is_some()
    }

    fn check(&self, dims: &Dims) -> Result<(), Limit> {
        match dims.head_dim {
            0..=LARGEST_HEAD => Ok(()),
            found => Err(Limit {
                target: "cuda",
                what: "a head_dim",
                found,
                most: LARGEST_HEAD,
                instead: "use --target cpu",
            }),
        }
    }

    /// More tokens than one have their inputs prepared by a launch of its own.
    fn scratch_row_bytes(&self, linear: &LinearShape) -> u64 {
        Row::of(linear.format, linear.cols, |decoder| decoder.planes(linear.inputs)).prepared_bytes()
    }
}
