//! Callbacks: which model's thread waits while this thread is in one.
//!
//! In: the number of a worker. Out: a refusal of calls that would wait for themselves. Invariant: a thread that is in no callback
//! is refused nothing.

use std::cell::Cell;

use qwenc_engine::error::Result;

use crate::border::bad;

thread_local! {
    /// The worker for whose callback this thread is away; 0: none.
    static CALLED_BACK: Cell<usize> = const { Cell::new(0) };
}

/// Refuses what would wait for the callback that asks for it.
pub(super) fn refuse_within_callback(worker: usize) -> Result<()> {
    if CALLED_BACK.get() != worker {
        return Ok(());
    }
    Err(bad("the model is waiting for this callback; do that after qwen_generate has returned"))
}

/// Runs a callback for which the worker waits.
pub(super) fn within<R>(worker: usize, callback: impl FnOnce() -> R) -> R {
    let before = CALLED_BACK.replace(worker);
    let done = callback();
    CALLED_BACK.set(before);
    done
}
