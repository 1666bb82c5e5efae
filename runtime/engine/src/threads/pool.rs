//! The fixed threads that run steps.
//!
//! In: a step function and its arguments. Out: the step, run by all threads at once, the caller
//! being thread 0. Invariant: `run` returns only when every thread has left the step; workers spin
//! briefly between steps, then sleep, so that an idle program uses no CPU. How threads wait is in `gate.rs`
//! and `barrier.rs`; here is which thread waits for which.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use qwenc_abi::{StepArgs, StepFn};

use crate::error::{Error, Result};
use crate::threads::barrier::Barrier;
use crate::threads::cores::{Placement, Settled};
use crate::threads::gate::Gate;

/// Pauses of a worker between steps before it sleeps: longer than it takes to sample a token.
const IDLE_PAUSES: u32 = 20_000;
/// Pauses of the caller at the end of a step before it sleeps.
const END_PAUSES: u32 = 1000;

/// Worker threads and the barrier they share.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    placement: Placement,
    /// The caller, thread 0.
    _settled: Settled,
}

struct Shared {
    barrier: Barrier,
    /// Raised by one for every step, and once more to end the threads.
    epoch: Gate,
    /// Raised by one when all workers have left a step.
    done: Gate,
    /// Workers that have left the current step.
    finished: AtomicU32,
    quit: AtomicBool,
    job: UnsafeCell<Option<Job>>,
}

#[derive(Clone, Copy)]
struct Job {
    step: StepFn,
    args: *const StepArgs,
}

// SAFETY: `job` is written only by the caller of `run` while no worker is inside a step (all have
// raised `finished`), and read only after `epoch` was seen raised, which happens after the write.
unsafe impl Sync for Shared {}
// SAFETY: as above; the raw pointer is only followed within `run`'s borrow.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts a worker for every thread but the caller, which is thread 0, on its CPU, as long as the pool lives.
    pub fn new(placement: Placement) -> Result<Pool> {
        let threads = placement.threads();
        let shared = Arc::new(Shared {
            barrier: Barrier::new(threads),
            epoch: Gate::default(),
            done: Gate::default(),
            finished: AtomicU32::new(0),
            quit: AtomicBool::new(false),
            job: UnsafeCell::new(None),
        });
        let settled = placement.settle(0)?;
        let mut pool = Pool { shared, workers: Vec::new(), placement, _settled: settled };
        for index in 1..threads {
            let (shared, placement) = (Arc::clone(&pool.shared), pool.placement.clone());
            let handle = std::thread::Builder::new()
                .name(format!("worker {index}"))
                .spawn(move || {
                    // If its CPU went away since, the system finds it another.
                    let _settled = placement.settle(index);
                    shared.work(index, threads);
                })
                .map_err(|source| Error::Thread { index, source })?;
            pool.workers.push(handle);
        }
        Ok(pool)
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.placement.threads()
    }

    /// CPUs on which the threads run.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Runs one step on all threads. `threads`, `barrier` and `barrier_data` of `args` are set here.
    ///
    /// # Safety
    /// `step` must keep to the contract of `StepFn`, and everything in `args` must be valid for it.
    pub unsafe fn run(&mut self, step: StepFn, mut args: StepArgs) {
        let shared = &*self.shared;
        args.threads = self.threads() as u64;
        args.barrier = Barrier::wait_raw;
        args.barrier_data = (&raw const shared.barrier).cast_mut().cast::<c_void>();
        shared.finished.store(0, Ordering::Relaxed);
        // SAFETY: all workers have left the last step, see `Shared`.
        unsafe { *shared.job.get() = Some(Job { step, args: &raw const args }) };
        let steps = shared.done.value();
        shared.epoch.advance();
        // SAFETY: by the caller's promise.
        unsafe { step(&raw const args, 0) };
        if self.threads() > 1 {
            shared.done.wait_beyond(steps, END_PAUSES);
        }
    }
}

impl Shared {
    fn work(&self, index: usize, threads: usize) {
        let mut seen = 0;
        loop {
            self.epoch.wait_beyond(seen, IDLE_PAUSES);
            seen = seen.wrapping_add(1);
            if self.quit.load(Ordering::Acquire) {
                return;
            }
            // SAFETY: the raised epoch was read after the job was written, see `Shared`.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: `run` was promised that step and args are valid and waits for us.
                unsafe { (job.step)(job.args, index as u64) };
            }
            if self.finished.fetch_add(1, Ordering::AcqRel) as usize + 2 == threads {
                self.done.advance();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        self.shared.epoch.advance();
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing left to clean up.
            drop(worker.join());
        }
    }
}
