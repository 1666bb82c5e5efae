//! Many wait for one: a number that threads wait on, spinning first, then asleep in the kernel.
//!
//! In: `advance` by one thread, which does not wait. Out: `wait_beyond` returns in the others. Invariant:
//! what was written before `advance` is visible after `wait_beyond`. It does not know how many wait: where
//! all must have come, there is `Barrier`, which is made of a gate and a count; the pool uses bare gates to
//! start its workers and to hear that they are done. Sleeping rather than yielding matters: a thread that
//! wakes is put on an idle core, while two yielding threads may share one core for long.

use std::sync::atomic::{AtomicU32, Ordering};

/// A counter on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct Gate {
    value: AtomicU32,
    sleepers: AtomicU32,
}

impl Gate {
    /// Number of calls of `advance`, wrapping.
    pub fn value(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Adds one and wakes the threads that wait.
    pub fn advance(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            futex(&self.value, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX as u32);
        }
    }

    /// Waits until the value is no longer `seen`; spins for at most `pauses` before it sleeps.
    pub fn wait_beyond(&self, seen: u32, pauses: u32) {
        for _ in 0..pauses {
            if self.value() != seen {
                return;
            }
            std::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.value.load(Ordering::SeqCst) == seen {
            futex(&self.value, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, seen);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    // SAFETY: the word outlives the call; a null timeout means none. Errors (a changed value, a
    // signal) only make the caller look at the value again.
    unsafe {
        let timeout = std::ptr::null::<libc::timespec>();
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_whatever_the_order() {
        for pauses in [0, 1, 10_000] {
            let gate = Gate::default();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for seen in 0..200 {
                            gate.wait_beyond(seen, pauses);
                        }
                    });
                }
                for _ in 0..200 {
                    gate.advance();
                    std::thread::yield_now();
                }
            });
            assert_eq!(gate.value(), 200);
        }
    }
}
