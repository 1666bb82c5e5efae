//! Events: places in the stream's order that the host can wait for, and the time between two of them.
//!
//! In: a context. Out: events. Invariant: destroyed once; what is recorded stays in order even after that.

use cudarc::driver::result;
use cudarc::driver::sys;

use super::driver::{refused, Context};
use crate::error::Result;

/// A place in the stream's order.
pub(super) struct Event {
    handle: sys::CUevent,
}

impl Event {
    /// Not recorded yet.
    pub(super) fn new() -> Result<Event> {
        Event::with(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// One that knows its time, behind everything that is on the stream now.
    pub(super) fn timed(context: &Context) -> Result<Event> {
        let event = Event::with(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        event.record(context)?;
        Ok(event)
    }

    fn with(flags: sys::CUevent_flags) -> Result<Event> {
        Ok(Event { handle: result::event::create(flags).map_err(refused("make an event"))? })
    }

    /// Microseconds from another event to this one; both are timed and have been waited for.
    pub(super) fn since(&self, earlier: &Event) -> Result<f64> {
        // SAFETY: both are ours.
        let ms = unsafe { result::event::elapsed(earlier.handle, self.handle) };
        Ok(f64::from(ms.map_err(refused("measure time"))?) * 1e3)
    }

    /// Puts it behind everything that is on the stream now.
    pub(super) fn record(&self, context: &Context) -> Result<()> {
        // SAFETY: event and stream are of the current context.
        unsafe { result::event::record(self.handle, context.stream()) }.map_err(refused("record an event"))
    }

    /// Waits for everything before its last record; at once without one. `action` is for the message if that failed.
    pub(super) fn wait(&self, action: &'static str) -> Result<()> {
        // SAFETY: the event is ours.
        unsafe { result::event::synchronize(self.handle) }.map_err(refused(action))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`.
        let _ = unsafe { result::event::destroy(self.handle) };
    }
}
