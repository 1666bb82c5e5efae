//! Input forms of linear kernels: f32, bf16, int8, int16.
//!
//! In: the form, the weights' format. Out: bytes of a prepared row. Invariant: the form depends on nothing that changes
//! from step to step, so that a token is computed in the same way whatever else is in the batch.

use std::fmt;
use std::str::FromStr;

use crate::panel::round_up;
use crate::registry::Operand;

/// Number format of a linear's inputs when they are multiplied with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inputs {
    /// f32, not rounded.
    F32,
    /// Rounded to bf16, two neighbours side by side; products of two bf16 are exact in f32.
    Bf16,
    /// One byte and a scale per group of the weights.
    Int8,
    /// 16 bits and a scale per group, as two planes of bytes: `128 · high + low`.
    Int16,
}

impl Inputs {
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
    pub fn row_bytes(self, weights: Operand, cols: u32) -> u64 {
        let (cols, planes) = (u64::from(cols), u64::from(self.planes()));
        match self {
            Inputs::F32 => 4 * cols,
            Inputs::Bf16 => 2 * round_up(cols, 2),
            Inputs::Int8 | Inputs::Int16 => {
                // A row is one group where the weights have none.
                let (unit, group) = (weights.input_unit(), weights.group().map_or(cols.max(1), u64::from));
                let (full, rest) = (cols / group, cols % group);
                let inputs = full * round_up(group, unit) + round_up(rest, unit);
                8 * cols.div_ceil(group) + planes * inputs
            }
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
