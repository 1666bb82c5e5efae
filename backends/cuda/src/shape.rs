//! A matrix in panels: blocks, splits and chains of its rows, and the shared memory of its kernels.
//!
//! In: a packed tensor and the planes of its inputs. Out: numbers for constants, launches and scratch. Invariant: they
//! are those that `device/linear.cuh` goes by; how inputs are cut into chains depends on nothing that changes from step
//! to step, and no chain goes on from one span to the next.

use qwenc_formats::PANEL_ROWS;
use qwenc_plan::{Layout, Segment};

use crate::decoder::Decoder;
use crate::row::Row;
use crate::schedule::{STAGES, STAGE_STEPS, TILE_PANELS, WARPS};

/// Blocks that keep a large device busy.
const ENOUGH_BLOCKS: u32 = 128;
/// Shared memory for inputs that two blocks have on the smallest multiprocessors.
const MOST_INPUTS: u32 = 40 << 10;

/// A matrix and how it meets its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The packed tensor.
    pub weight: Segment,
    /// One of its rows.
    pub row: Row,
}

impl Shape {
    /// A packed tensor and the planes of its inputs.
    pub(crate) fn of(weight: &Segment, planes: impl Fn(&Decoder) -> u32) -> Shape {
        Shape { weight: weight.clone(), row: Row::of(weight.format, weight.cols, planes) }
    }

    /// Whether the weights are f32, for which there are no tensor cores here.
    pub(crate) fn exact(&self) -> bool {
        self.row.decoder.exact
    }

    /// Units that begin spans, and the end of the last.
    pub(crate) fn borders(&self) -> Vec<u32> {
        let begins = self.weight.spans().into_iter().map(|span| span.columns.start / self.row.group());
        begins.chain([self.row.units()]).collect()
    }

    /// Whether all spans have the same number of units.
    pub(crate) fn even(&self) -> bool {
        let borders = self.borders();
        borders.iter().zip(0..).all(|(&unit, span)| unit == span * borders[1])
    }

    /// Blocks that share out a panel's inputs.
    pub(crate) fn splits(&self) -> u32 {
        self.chains().div_ceil(WARPS)
    }

    /// Blocks that should share out a panel's inputs: enough to fill a device, and for one's share to fit its shared memory.
    fn wanted_splits(&self) -> u32 {
        if self.exact() {
            return 1;
        }
        let wanted = ENOUGH_BLOCKS / self.weight.panels().max(1);
        let inputs = self.row.inputs_bytes(self.row.units());
        let fitting = inputs.div_ceil(MOST_INPUTS);
        wanted.max(fitting).clamp(1, (self.row.units() / WARPS).max(1))
    }

    /// Chains of sums that a row's inputs are cut into: the same number in each span.
    pub(crate) fn chains(&self) -> u32 {
        let spans = self.weight.spans;
        let fewest = self.borders().windows(2).map(|border| border[1] - border[0]).min().unwrap_or(1);
        spans * (WARPS * self.wanted_splits() / spans).clamp(1, fewest)
    }

    /// The first unit of a chain, or the end of the last.
    fn chain_begin(&self, chain: u32) -> u32 {
        let (borders, of_span) = (self.borders(), self.chains() / self.weight.spans);
        let span = (chain / of_span) as usize;
        let end = borders.get(span + 1).unwrap_or(&borders[span]);
        borders[span] + (end - borders[span]) * (chain % of_span) / of_span
    }

    /// Tiles of 8 tokens that a warp has when there are many tokens.
    pub(crate) fn token_tiles(&self) -> u32 {
        self.row.decoder.token_tiles
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
        4 * u64::from(self.weight.panels()) * u64::from(self.chains() * rows * PANEL_ROWS)
    }

    /// Shared memory for one token: chains, a flag, the inputs of one split, and their gain.
    pub(crate) fn shared_for_one(&self, has_gain: bool) -> u32 {
        let inputs = (0..self.splits()).map(|split| {
            let end = (WARPS * (split + 1)).min(self.chains());
            let units = self.chain_begin(end) - self.chain_begin(WARPS * split);
            let gain = if has_gain { 4 * units * self.row.group() } else { 0 };
            self.row.inputs_bytes(units).next_multiple_of(16) + gain
        });
        chains_bytes(1) + 128 + inputs.max().unwrap_or(0)
    }

    /// Shared memory for 8 or 16 tokens.
    pub(crate) fn shared_for_few(&self, tokens: u32) -> u32 {
        chains_bytes(tokens) + 128
    }

    /// Shared memory for many tokens: stages of weights, scales, inputs and groups.
    pub(crate) fn shared_for_many(&self) -> u32 {
        let tokens = 16 * self.token_tiles();
        let scales = (self.row.decoder.scale_bytes + self.row.block().head) as u32;
        let inputs = self.row.planes * tokens * 32 + tokens * self.row.decoder.group_bytes;
        let step = TILE_PANELS * (self.row.decoder.step_bytes + scales) + inputs;
        STAGES * STAGE_STEPS * step
    }
}

fn chains_bytes(tokens: u32) -> u32 {
    4 * WARPS * tokens * PANEL_ROWS
}
