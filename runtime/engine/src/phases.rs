//! Phases of a start, with the time of each: what `--verbose` shows.
//!
//! In: work. Out: its result, and a line on standard error. Invariant: nothing is written unless `show` was called.

use std::io::{stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

static SHOWN: AtomicBool = AtomicBool::new(false);

/// From now on each phase is written when it ends.
pub fn show() {
    SHOWN.store(true, Ordering::Relaxed);
}

/// Does the work of a phase.
pub fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    if SHOWN.load(Ordering::Relaxed) {
        // A phase without its line is no reason to end.
        let _ = writeln!(stderr(), "{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    done
}
