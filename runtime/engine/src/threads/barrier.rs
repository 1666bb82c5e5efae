//! All wait for all: where the threads of a step meet after each kernel, and none goes on before the last
//! has come.
//!
//! In: a number of threads. Out: `wait`, which returns once all of them have called it. Invariant:
//! everything that a thread wrote before `wait` is visible to every thread after it; a barrier is
//! reusable at once. It counts the threads that have come and lets them go through a [`Gate`], which counts none.
//! Generated code calls it through `StepArgs::barrier`.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::threads::gate::Gate;

/// Pauses before a waiting thread sleeps, about 20 µs: longer than the others are usually late, and
/// short enough that a machine with too few cores loses little.
const PAUSES: u32 = 1000;

/// A generation-counting barrier on cache lines of its own.
#[repr(align(128))]
pub struct Barrier {
    arrived: AtomicU64,
    generation: Gate,
    threads: u64,
}

impl Barrier {
    /// For `threads` threads.
    pub fn new(threads: usize) -> Barrier {
        Barrier { arrived: AtomicU64::new(0), generation: Gate::default(), threads: threads as u64 }
    }

    /// Waits until all threads have called this.
    pub fn wait(&self) {
        if self.threads == 1 {
            return;
        }
        let generation = self.generation.value();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.advance();
        } else {
            self.generation.wait_beyond(generation, PAUSES);
        }
    }

    /// `wait` in the form of `StepArgs::barrier`; `data` is a `*const Barrier`.
    pub extern "C" fn wait_raw(data: *mut c_void) {
        // SAFETY: the pool passes the address of its own barrier, which outlives the step.
        unsafe { (*data.cast::<Barrier>()).wait() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_passes_early_even_when_crowded() {
        for threads in [1, 2, 8] {
            let barrier = Barrier::new(threads);
            let count = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for round in 1..=200 {
                            count.fetch_add(1, Ordering::Relaxed);
                            barrier.wait();
                            assert_eq!(count.load(Ordering::Relaxed), round * threads as u64);
                            barrier.wait();
                        }
                    });
                }
            });
        }
    }
}
