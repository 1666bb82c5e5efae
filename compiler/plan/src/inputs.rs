//! In which form a linear's kernel reads its inputs.
//!
//! In: the type of the weights, what the linear is for, and what was asked for. Out: an [`Inputs`].
//! Invariant: the form depends on nothing that changes from step to step, so that a token is computed in
//! the same way in every company.

use std::fmt;
use std::str::FromStr;

use qwenc_ir::DType;

use crate::round_up;

/// The form of a linear's input row when it meets the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inputs {
    /// As computed.
    F32,
    /// Rounded to bf16, two neighbours side by side; products of two bf16 are exact in f32.
    Bf16,
    /// One byte and a scale per group of the weights.
    Int8,
    /// 16 bits and a scale per group, as two planes of bytes: `128 · high + low`.
    Int16,
}

/// What [`lower`](crate::lower()) is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// As fast as goes without adding much to the error of the weights' own type.
    #[default]
    Default,
    /// As close as the weights' kernels go: f32, or 16 bits for int8 weights.
    F32,
    /// bf16 for weights of bf16, but for the head.
    Bf16,
    /// One byte for int8 weights.
    Int8,
}

impl Activations {
    /// Whether the choice means anything for weights of this type.
    pub fn fit(self, weights: DType) -> bool {
        match self {
            Activations::Default => true,
            Activations::F32 => !matches!(weights, DType::I4 { .. }),
            Activations::Bf16 => weights == DType::Bf16,
            Activations::Int8 => weights.quantised().is_some(),
        }
    }
}

/// The largest group whose sum of products of 16 and 8 bits fits in 32.
const LARGEST_INT16_GROUP: u32 = 1024;

impl Inputs {
    /// The form for weights of this type. `tolerant`: the linear is one of the MLP's, whose inputs add the
    /// least error for their share of the work.
    pub(crate) fn choose(asked: Activations, weights: DType, tolerant: bool, head: bool) -> Inputs {
        match (weights, asked) {
            (DType::I8 { group, .. }, _) if group > LARGEST_INT16_GROUP => Inputs::Int8,
            (DType::I8 { .. }, Activations::Int8) => Inputs::Int8,
            (DType::I8 { .. }, Activations::Default) if tolerant => Inputs::Int8,
            (DType::I8 { .. }, _) => Inputs::Int16,
            (DType::I4 { .. }, _) => Inputs::Int8,
            (DType::Bf16, Activations::Bf16) if !head => Inputs::Bf16,
            _ => Inputs::F32,
        }
    }

    /// Whether a kernel multiplies weights of this type with inputs of this form.
    pub(crate) fn fit(self, weights: DType) -> bool {
        match (self, weights) {
            (Inputs::F32, w) => w.quantised().is_none(),
            (Inputs::Bf16, w) => w == DType::Bf16,
            (Inputs::Int8, w) => w.quantised().is_some(),
            (Inputs::Int16, DType::I8 { group, .. }) => group <= LARGEST_INT16_GROUP,
            (Inputs::Int16, _) => false,
        }
    }

    /// Planes of bytes; 0 for floats.
    pub fn planes(self) -> u32 {
        match self {
            Inputs::F32 | Inputs::Bf16 => 0,
            Inputs::Int8 => 1,
            Inputs::Int16 => 2,
        }
    }

    /// Bytes of a row of `cols` inputs: floats; or a scale and a correction per group of the weights, then
    /// group by group each plane, padded to what one read of the weights meets.
    pub(crate) fn row_bytes(self, weights: DType, cols: u32) -> u64 {
        let (cols, planes) = (u64::from(cols), u64::from(self.planes()));
        match (self, weights.group()) {
            (Inputs::Bf16, _) => 2 * round_up(cols, 2),
            (Inputs::Int8 | Inputs::Int16, Some(group)) => {
                let unit = if matches!(weights, DType::I4 { .. }) { 8 } else { 4 };
                let group = u64::from(group);
                let (full, rest) = (cols / group, cols % group);
                let inputs = full * round_up(group, unit) + round_up(rest, unit);
                8 * cols.div_ceil(group) + planes * inputs
            }
            _ => 4 * cols,
        }
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Inputs::F32 => "f32",
            Inputs::Bf16 => "bf16",
            Inputs::Int8 => "int8",
            Inputs::Int16 => "int16",
        })
    }
}

impl FromStr for Inputs {
    type Err = ();

    fn from_str(s: &str) -> Result<Inputs, ()> {
        let all = [Inputs::F32, Inputs::Bf16, Inputs::Int8, Inputs::Int16];
        all.into_iter().find(|i| i.to_string() == s).ok_or(())
    }
}
