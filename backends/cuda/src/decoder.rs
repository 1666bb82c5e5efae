//! Decoders of operand formats in the device code.
//!
//! In: a format. Out: the numbers by which `device/linear.cuh` steps through its panels. Invariant: a format that is not
//! listed here is refused before code is generated.

use qwenc_formats::{Inputs, Operand};

/// Decoder parameters of an operand format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    /// Name of the format in the device code's enum `Type`.
    pub name: &'static str,
    /// Whether products are f32, without tensor cores.
    pub exact: bool,
    /// Columns of a step.
    pub step_cols: u32,
    /// Bytes of a step of one panel.
    pub step_bytes: u32,
    /// Whether inputs have scales, one per unit.
    pub scaled_inputs: bool,
    /// Tiles of 8 tokens per warp in prefill; integers need registers for two planes.
    pub token_tiles: u32,
}

impl Decoder {
    /// The decoder of a format; none where the device code does not read it.
    pub fn of(format: Operand) -> Option<Decoder> {
        let ints = |name, step_bytes| Decoder {
            name,
            exact: false,
            step_cols: 32,
            step_bytes,
            scaled_inputs: true,
            token_tiles: 4,
        };
        match format {
            Operand::F32 => Some(Decoder { exact: true, ..ints("F32", 1024) }),
            Operand::Bf16 => {
                Some(Decoder { step_cols: 16, scaled_inputs: false, token_tiles: 8, ..ints("BF16", 1024) })
            }
            Operand::Bf12 => None,
            Operand::I8 { .. } => Some(ints("INT8", 1024)),
            Operand::I4 { .. } => Some(ints("INT4", 512)),
        }
    }

    /// Planes of a linear's inputs: bf16 weights meet f32 as the sum of two bf16.
    pub fn planes(&self, inputs: Inputs) -> u32 {
        match inputs {
            Inputs::F32 if !self.exact => 2,
            Inputs::F32 | Inputs::Bf16 => 1,
            Inputs::Int8 | Inputs::Int16 => inputs.planes(),
        }
    }
}
