//! A thread with a known stack.
//!
//! In: a piece of work and its limits. Out: its result. Invariant: the caller's stack is not used, however small it is,
//! and a panic of the work is an error, not the end of the caller.

use crate::error::{Fault, Outcome};
use crate::meter::{self, Limits};

/// Runs `work` on a thread of its own, with the meter set.
pub(crate) fn run<T: Send>(limits: Limits, work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    let counted = move || {
        meter::begin(limits);
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("template".into())
            .stack_size(meter::STACK_BYTES)
            .spawn_scoped(scope, counted)
            .map_err(|e| Fault::Limit(format!("no thread for the template: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(Fault::Limit("the template cannot be rendered".into())))
    })
}
