//! Input forms of linear kernels: f32, bf16, int8, int16.
//!
//! In: the form, the weights' format. Out: bytes and layout of a prepared row. Invariant: the form depends on nothing that changes
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

    /// Bytes of a prepared row of `cols` inputs for weights of this format; 0 where kernels do not multiply the two.
    pub fn row_bytes(self, weights: Operand, cols: u32) -> u64 {
        match self {
            Inputs::F32 => 4 * u64::from(cols),
            Inputs::Bf16 => 2 * round_up(u64::from(cols), 2),
            Inputs::Int8 | Inputs::Int16 => {
                let layout = weights.input_layout();
                layout.map_or(0, |l| l.inputs_at(cols) + u64::from(self.planes()) * l.plane_bytes(cols))
            }
        }
    }
}

/// Layout of a prepared row of integers: an f32 scale per group, then the i32 sums, then group by group each plane's
/// inputs, padded with zeros. Formats with the same layout can share prepared rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputLayout {
    /// Columns of a group, which share a scale; the last group of a row may be shorter.
    pub group: u32,
    /// Columns that share a sum of the rounded integers: a group's, or a divisor of them.
    pub sum_cols: u32,
    /// Padding unit: a group's inputs are padded to a multiple of it.
    pub unit: u32,
    /// Bias of the weights, for stored sums at which a dot product can start; none for plain sums.
    pub bias: Option<i32>,
}

impl InputLayout {
    /// Layout for GGUF's K formats: a scale per 32 inputs, a sum per 16.
    pub const K: InputLayout = InputLayout { group: 32, sum_cols: 16, unit: 32, bias: None };

    /// Layout for weights with one scale and one bias per group: a sum is a correction of the group's dot product.
    pub(crate) fn corrected(group: u32, unit: u32, bias: i32) -> InputLayout {
        InputLayout { group, sum_cols: group, unit, bias: Some(bias) }
    }

    /// Factor of the stored sums: 1, or minus the bias in units of the first plane, which counts 128 times if there are
    /// two.
    pub fn sum_factor(self, inputs: Inputs) -> i32 {
        let unit = if inputs.planes() == 2 { 128 } else { 1 };
        self.bias.map_or(1, |bias| -bias / unit)
    }

    /// Offset of the sums; scales are at 0.
    pub fn sums_at(self, cols: u32) -> u64 {
        4 * u64::from(cols.div_ceil(self.group))
    }

    /// Offset of the inputs.
    pub fn inputs_at(self, cols: u32) -> u64 {
        self.sums_at(cols) + 4 * u64::from(cols.div_ceil(self.sum_cols))
    }

    /// Bytes of one plane of so many columns, which begin with a group.
    pub fn plane_bytes(self, cols: u32) -> u64 {
        let [group, unit] = [self.group, self.unit].map(u64::from);
        let (full, rest) = (u64::from(cols) / group, u64::from(cols) % group);
        full * round_up(group, unit) + round_up(rest, unit)
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
