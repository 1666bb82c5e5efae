//! A row of a matrix, counted as the device code counts: in steps and units.
//!
//! In: an operand format, columns, planes of the inputs. Out: numbers for constants, and bytes of one token's prepared inputs.
//! Invariant: they are those that `device/linear.cuh` goes by.

use qwenc_formats::Operand;

use crate::decoder::{Block, Decoder};

/// A row of weights and the inputs that it meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Format of the weights.
    pub format: Operand,
    /// Its columns.
    pub cols: u32,
    /// Decoder of the format.
    pub decoder: Decoder,
    /// Planes of the inputs; 1 for f32 weights.
    pub planes: u32,
}

impl Row {
    /// A row of so many columns; `planes` are those of the inputs, by the decoder.
    pub(crate) fn of(format: Operand, cols: u32, planes: impl Fn(&Decoder) -> u32) -> Row {
        // A plan for this target has only formats that it reads.
        let decoder = Decoder::of(format).expect("a format that the device code reads");
        Row { format, cols, decoder, planes: planes(&decoder) }
    }

    /// Columns of a unit: of a group, or of a step.
    pub(crate) fn group(&self) -> u32 {
        self.format.group().unwrap_or(self.decoder.step_cols).min(self.cols.next_multiple_of(8))
    }

    /// Units of a row.
    pub(crate) fn units(&self) -> u32 {
        self.cols.div_ceil(self.group())
    }

    /// Steps of a whole unit.
    pub(crate) fn unit_steps(&self) -> u32 {
        self.group().div_ceil(self.decoder.step_cols)
    }

    /// Steps of a row.
    pub(crate) fn steps(&self) -> u32 {
        let last = self.cols - (self.units() - 1) * self.group();
        (self.units() - 1) * self.unit_steps() + last.div_ceil(self.decoder.step_cols)
    }

    /// Bytes of a panel's unit.
    pub(crate) fn unit_bytes(&self) -> u64 {
        match self.decoder.group_bytes > 0 {
            true => self.format.group_bytes(u64::from(self.group())),
            false => u64::from(self.decoder.step_bytes),
        }
    }

    /// Blocks of a panel: one unit each where units share nothing.
    pub(crate) fn block(&self) -> Block {
        self.decoder.block.unwrap_or(Block { units: 1, bytes: self.unit_bytes(), head: 0 })
    }

    /// One token's prepared inputs of some units, and what turns their sums to floats.
    pub(crate) fn inputs_bytes(&self, units: u32) -> u32 {
        units * self.unit_steps() * self.planes * 32 + units * self.decoder.group_bytes
    }

    /// Bytes of one token's prepared inputs.
    pub(crate) fn prepared_bytes(&self) -> u64 {
        match self.decoder.exact {
            true => 4 * u64::from(self.cols),
            false => u64::from(self.inputs_bytes(self.units())),
        }
    }
}
