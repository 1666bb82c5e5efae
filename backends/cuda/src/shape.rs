//! A matrix in panels, counted as the device code counts: in steps, units and spans.
//!
//! In: a packed tensor and the planes of its inputs. Out: numbers for constants, launches and scratch. Invariant: they
//! are those that `device/linear.cuh` goes by; how inputs are cut into spans depends on nothing that changes from step
//! to step.

use qwenc_formats::PANEL_ROWS;
use qwenc_plan::{Layout, Segment};

use crate::decoder::{Block, Decoder};

/// Warps of a block of few tokens, and so the spans it takes.
pub(crate) const WARPS: u32 = 8;
/// Blocks that keep a large device busy.
const ENOUGH_BLOCKS: u32 = 128;
/// Shared memory for inputs that two blocks have on the smallest multiprocessors.
const MOST_INPUTS: u32 = 40 << 10;

/// A matrix and how it meets its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The packed tensor.
    pub weight: Segment,
    /// Decoder of the tensor's format.
    pub decoder: Decoder,
    /// Planes of the inputs; 1 for f32 weights.
    pub planes: u32,
}

impl Shape {
    /// A packed tensor and the planes of its inputs.
    pub(crate) fn of(weight: &Segment, planes: impl Fn(&Decoder) -> u32) -> Shape {
        // `emit` refuses plans with other formats before it asks for shapes.
        let decoder = Decoder::of(weight.format).expect("a format that the device code reads");
        Shape { weight: weight.clone(), decoder, planes: planes(&decoder) }
    }

    /// Whether the weights are f32, for which there are no tensor cores here.
    pub(crate) fn exact(&self) -> bool {
        self.decoder.exact
    }

    /// Columns of a step.
    pub(crate) fn step_cols(&self) -> u32 {
        self.decoder.step_cols
    }

    /// Bytes of a step of one panel.
    pub(crate) fn step_bytes(&self) -> u32 {
        self.decoder.step_bytes
    }

    /// Columns of a unit: of a group, or of a step.
    pub(crate) fn group(&self) -> u32 {
        self.weight.format.group().unwrap_or(self.step_cols()).min(self.weight.cols.next_multiple_of(8))
    }

    /// Units of a row.
    pub(crate) fn units(&self) -> u32 {
        self.weight.cols.div_ceil(self.group())
    }

    /// Steps of a whole unit.
    pub(crate) fn unit_steps(&self) -> u32 {
        self.group().div_ceil(self.step_cols())
    }

    /// Steps of a row.
    pub(crate) fn steps(&self) -> u32 {
        let last = self.weight.cols - (self.units() - 1) * self.group();
        (self.units() - 1) * self.unit_steps() + last.div_ceil(self.step_cols())
    }

    /// Bytes of a panel's unit.
    pub(crate) fn unit_bytes(&self) -> u64 {
        match self.decoder.group_bytes > 0 {
            true => self.weight.format.group_bytes(u64::from(self.group())),
            false => u64::from(self.step_bytes()),
        }
    }

    /// Blocks of a panel: one unit each where units share nothing.
    pub(crate) fn block(&self) -> Block {
        self.decoder.block.unwrap_or(Block { units: 1, bytes: self.unit_bytes(), head: 0 })
    }

    /// Blocks that share out a panel's inputs: enough to fill a device, and for one's share to fit its shared memory.
    pub(crate) fn splits(&self) -> u32 {
        let wanted = ENOUGH_BLOCKS / self.weight.panels().max(1);
        let inputs = self.inputs_bytes(self.units());
        let fitting = inputs.div_ceil(MOST_INPUTS);
        wanted.max(fitting).clamp(1, (self.units() / WARPS).max(1))
    }

    /// One token's prepared inputs of some units, and what turns their sums to floats.
    fn inputs_bytes(&self, units: u32) -> u32 {
        units * self.unit_steps() * self.planes * 32 + units * self.decoder.group_bytes
    }

    /// Chains of sums that a row's inputs are cut into.
    pub(crate) fn spans(&self) -> u32 {
        (WARPS * self.splits()).min(self.units())
    }

    /// Tiles of 8 tokens that a warp has when there are many tokens.
    pub(crate) fn token_tiles(&self) -> u32 {
        self.decoder.token_tiles
    }

    /// Rows of one part of a pair interleaved with the other's.
    pub(crate) fn paired(&self) -> bool {
        self.weight.layout == Layout::PairedPanels
    }

    /// Scratch for the sums of split panels.
    pub(crate) fn partial_bytes(&self, rows: u32) -> u64 {
        if self.exact() || self.splits() == 1 {
            return 0;
        }
        4 * u64::from(self.weight.panels()) * u64::from(self.spans() * rows * PANEL_ROWS)
    }

    /// Scratch for one token's prepared inputs.
    pub(crate) fn prepared_bytes(&self) -> u64 {
        if self.exact() {
            return 4 * u64::from(self.weight.cols);
        }
        u64::from(self.inputs_bytes(self.units()))
    }

    /// Shared memory for one token: spans, a flag, the inputs of one split, and their gain.
    pub(crate) fn shared_for_one(&self, has_gain: bool) -> u32 {
        let begin = |span: u32| span * self.units() / self.spans();
        let inputs = (0..self.splits()).map(|split| {
            let units = begin((WARPS * (split + 1)).min(self.spans())) - begin(WARPS * split);
            let gain = if has_gain { 4 * units * self.group() } else { 0 };
            self.inputs_bytes(units).next_multiple_of(16) + gain
        });
        spans_bytes(1) + 128 + inputs.max().unwrap_or(0)
    }

    /// Shared memory for 8 or 16 tokens.
    pub(crate) fn shared_for_few(&self, tokens: u32) -> u32 {
        spans_bytes(tokens) + 128
    }

    /// Shared memory for many tokens: stages of weights, scales, inputs and groups.
    pub(crate) fn shared_for_many(&self) -> u32 {
        let tokens = 16 * self.token_tiles();
        let scales = (self.decoder.scale_bytes + self.block().head) as u32;
        let inputs = self.planes * tokens * 32 + tokens * self.decoder.group_bytes;
        let step = 4 * self.step_bytes() + 4 * scales + inputs;
        STAGES * STAGE_STEPS * step
    }
}

/// As in `device/prefill.cuh`.
const STAGES: u32 = 4;
const STAGE_STEPS: u32 = 2;

fn spans_bytes(tokens: u32) -> u32 {
    4 * WARPS * tokens * PANEL_ROWS
}
