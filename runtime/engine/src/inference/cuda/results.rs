//! Results of a step: logits on the device, picks in mapped host memory, and an event behind the step.
//!
//! In: the number of outputs. Out: buffers, and a pick once the event has completed. Invariant: there are two sets, which
//! steps take in turn, so that a step can run while the results of the one before it are read.

use std::rc::Rc;

use qwenc_abi::CudaModel;

use super::driver::Context;
use super::event::Event;
use super::memory::{Buffer, Pinned};
use crate::error::Result;

/// Results of one step.
pub(super) struct ResultSet {
    /// Capacity, in outputs.
    pub(super) outputs: usize,
    /// f32 `[outputs, logits_stride]`.
    pub(super) logits: Buffer,
    /// u32 `[outputs]`.
    picks: Pinned,
    /// Recorded behind the last step with this set.
    done: Event,
}

impl ResultSet {
    /// A set for up to `outputs` outputs.
    pub(super) fn new(context: &Rc<Context>, model: &CudaModel, outputs: usize) -> Result<ResultSet> {
        let bytes = 4 * u64::from(model.logits_stride) * outputs as u64;
        Ok(ResultSet {
            outputs,
            logits: Buffer::new(context, bytes, "logits")?,
            picks: Pinned::zeroed(context, 4 * outputs)?,
            done: Event::new()?,
        })
    }

    /// Device address of the picks. With unified addressing, as on 64-bit Linux, host memory that the driver allocated has the
    /// same address on the device.
    pub(super) fn picks_address(&self) -> u64 {
        self.picks.address()
    }

    /// Records the event behind the step that was launched last.
    pub(super) fn launched(&self, context: &Context) -> Result<()> {
        self.done.record(context)
    }

    /// Waits for the last step with this set.
    pub(super) fn wait(&self) -> Result<()> {
        self.done.wait("run the model")
    }

    /// Pick of output `index`; the step must have been waited for.
    pub(super) fn pick(&self, index: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.picks.bytes()[4 * index..4 * index + 4]);
        u32::from_ne_bytes(word)
    }
}
