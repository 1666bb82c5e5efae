//! Precision of the inputs of linears.
//!
//! In: what was asked for, the weights' format, what the linear is for. Out: the form of its inputs. Invariant: the form
//! depends on nothing that changes from step to step.

use qwenc_formats::{Inputs, Operand};

/// Requested precision of the inputs of linears (`--activations`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// The fastest form that adds little to the rounding error of the weights.
    #[default]
    Default,
    /// The most exact form that kernels multiply the weights with: f32, or 16 bits for int8 weights.
    F32,
    /// bf16 for weights of bf16, but for the head.
    Bf16,
    /// One byte for int8 weights.
    Int8,
}

impl Activations {
    /// Whether the choice means anything for weights of this type.
    pub fn fit(self, weights: Operand) -> bool {
        match self {
            Activations::Default => true,
            Activations::F32 => weights.exact_inputs() != Inputs::Int8,
            Activations::Bf16 => weights.meets(Inputs::Bf16),
            Activations::Int8 => weights.meets(Inputs::Int8),
        }
    }

    /// The form of a linear's inputs. `tolerant`: the linear is one of the MLP's, whose inputs add the least error for their
    /// share of the work. Logits never come from inputs rounded to bf16.
    pub(crate) fn inputs(self, weights: Operand, tolerant: bool, head: bool) -> Inputs {
        match self {
            Activations::Default => weights.usual_inputs(tolerant),
            Activations::Bf16 if !head && weights.meets(Inputs::Bf16) => Inputs::Bf16,
            Activations::Int8 if weights.meets(Inputs::Int8) => Inputs::Int8,
            Activations::F32 | Activations::Bf16 | Activations::Int8 => weights.exact_inputs(),
        }
    }
}
