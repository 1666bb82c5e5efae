//! CUDA events on the context's stream: the host waits for one, or takes the time between two.
//!
//! In: a context. Out: events. Invariant: an event is destroyed once, by its owner.

use cudarc::driver::result;
use cudarc::driver::sys;

use super::driver::{refused, Context};
use crate::error::Result;

/// A CUDA event.
pub(super) struct Event {
    handle: sys::CUevent,
}

impl Event {
    /// An event without timing, not recorded yet.
    pub(super) fn new() -> Result<Event> {
        Event::with(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// An event with timing, recorded now on the stream.
    pub(super) fn timed(context: &Context) -> Result<Event> {
        let event = Event::with(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        event.record(context)?;
        Ok(event)
    }

    fn with(flags: sys::CUevent_flags) -> Result<Event> {
        Ok(Event { handle: result::event::create(flags).map_err(refused("make an event"))? })
    }

    /// Microseconds from `earlier` to this event; both have timing and have completed.
    pub(super) fn since(&self, earlier: &Event) -> Result<f64> {
        // SAFETY: both events were made by `with` and are not destroyed.
        let ms = unsafe { result::event::elapsed(earlier.handle, self.handle) };
        Ok(f64::from(ms.map_err(refused("measure time"))?) * 1e3)
    }

    /// Records the event on the stream, behind all work that is there now.
    pub(super) fn record(&self, context: &Context) -> Result<()> {
        // SAFETY: event and stream are of the current context.
        unsafe { result::event::record(self.handle, context.stream()) }.map_err(refused("record an event"))
    }

    /// Blocks the host until the event has completed; returns at once if it was never recorded. An error of that work names
    /// `action`.
    pub(super) fn wait(&self, action: &'static str) -> Result<()> {
        // SAFETY: the event is ours.
        unsafe { result::event::synchronize(self.handle) }.map_err(refused(action))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `with`, and destroyed here alone.
        let _ = unsafe { result::event::destroy(self.handle) };
    }
}
