//! Laws of the last hidden state: its buffer holds a row per token until the end, and the final norm's gain is a vector as long.
//!
//! In: a plan. Out: the law that it breaks.

use super::PlanError;
use crate::plan::{LastHiddenState, Plan};
use crate::segment::{Home, Layout};

/// Checks both laws.
pub(crate) fn check(plan: &Plan) -> Result<(), PlanError> {
    let LastHiddenState { state, gain } = plan.hidden;
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
