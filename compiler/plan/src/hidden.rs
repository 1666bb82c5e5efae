//! Where the last hidden state is when a step is done.
//!
//! In: a plan. Out: the residual stream's buffer and the gain of the final norm. Invariant: nothing writes to the buffer
//! after the last layer, whether or not the head is run, so that it can be read after a step.

use crate::plan::{BufferId, Plan};
use crate::segment::{Home, Layout, SegmentId};
use crate::verify::PlanError;

/// The last hidden state, not yet normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// `[T, D]`: the residual stream.
    pub state: BufferId,
    /// `[D]`: the final norm's; none if it has none.
    pub gain: Option<SegmentId>,
}

impl Plan {
    /// For the runtime, which reads it: the buffer's offset and bytes per row, floats per row, and the gain's offset
    /// in the image, `u64::MAX` if there is none.
    pub fn hidden_record(&self) -> [u64; 4] {
        let buffer = self.buffer(self.hidden.state);
        let gain = self.hidden.gain.map_or(u64::MAX, |gain| self.segment(gain).offset);
        [buffer.offset, buffer.row_bytes, u64::from(self.dims.hidden), gain]
    }
}

/// The buffer holds a row per token until the end; the gain is a vector as long.
pub(crate) fn check(plan: &Plan) -> Result<(), PlanError> {
    let Hidden { state, gain } = plan.hidden;
    let buffer = plan.buffers.get(state.0 as usize);
    let buffer = buffer.ok_or_else(|| PlanError::Undefined { what: state.to_string() })?;
    let last = plan.kernels().last().map_or(0, |(number, _)| number);
    if buffer.width != plan.dims.hidden || buffer.live.1 != last {
        return Err(PlanError::Form { what: "the hidden state is a row per token, kept to the last kernel" });
    }
    let Some(gain) = gain else { return Ok(()) };
    let segment = plan.segments.get(gain.0 as usize);
    let segment = segment.ok_or_else(|| PlanError::Undefined { what: gain.to_string() })?;
    if segment.layout != Layout::Vector || segment.cols != plan.dims.hidden || segment.home != Home::Model {
        return Err(PlanError::Form {
            what: "the final norm's gain is one vector as long as the hidden state",
        });
    }
    Ok(())
}
