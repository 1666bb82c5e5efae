//! Results of a step: logits on the device, picks in memory of the host that kernels write, and the event behind both.
//!
//! In: room for outputs. Out: buffers, and a pick when its event has been waited for. Invariant: there are two sets,
//! which steps take in turn, so that a step can run while the results of the one before it are read.

use std::rc::Rc;

use qwenc_abi::CudaModel;

use super::driver::Context;
use super::event::Event;
use super::memory::{Buffer, Pinned};
use super::need::Room;
use crate::error::Result;

/// Outputs that each of the two sets has room for: one for any step; one for steps of a row for each sequence, which repeat.
pub(super) fn sizes(room: &Room) -> [usize; 2] {
    let all = room.outputs.max(1);
    [all, all.min(room.sequences.max(1))]
}

/// Results of one step.
pub(super) struct ResultSet {
    /// Rows that it has room for.
    pub(super) outputs: usize,
    /// f32 `[outputs, logits_stride]`.
    pub(super) logits: Buffer,
    /// u32 `[outputs]`.
    picks: Pinned,
    done: Event,
}

impl ResultSet {
    /// Room for `outputs` rows.
    pub(super) fn new(context: &Rc<Context>, model: &CudaModel, outputs: usize) -> Result<ResultSet> {
        let bytes = 4 * u64::from(model.logits_stride) * outputs as u64;
        Ok(ResultSet {
            outputs,
            logits: Buffer::new(context, bytes, "logits")?,
            picks: Pinned::zeroed(context, 4 * outputs)?,
            done: Event::new()?,
        })
    }

    /// Where kernels write the picks: with unified addressing, which every 64-bit system has, memory of the host that the
    /// driver allocated has one address for both.
    pub(super) fn picks_address(&self) -> u64 {
        self.picks.address()
    }

    /// Puts the event behind the step that was launched last.
    pub(super) fn launched(&self, context: &Context) -> Result<()> {
        self.done.record(context)
    }

    /// Waits for the step that was launched with this set last.
    pub(super) fn wait(&self) -> Result<()> {
        self.done.wait("run the model")
    }

    /// The pick of output `index` of a step that has been waited for.
    pub(super) fn pick(&self, index: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.picks.bytes()[4 * index..4 * index + 4]);
        u32::from_ne_bytes(word)
    }
}
