//! Steps that stop after every kernel. In: a loaded model, a number of tokens, where they stand. Out: one kernel
//! run at a time. Invariant: the thread that computes and the one that measures wait for each other awake, so that
//! what is between them is less than a microsecond; that takes two idle cores.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use qwenc_abi::{KvType, Row, StepArgs};
use qwenc_plan::{Dest, Kernel, Plan};

// The tests of the kernels use all of both.
#[allow(dead_code)]
#[path = "../../tests/kernels/loaded.rs"]
pub mod loaded;
#[allow(dead_code)]
use loaded::{Loaded, Memory};

/// Ends the computing thread after its step.
const ALL: u64 = u64::MAX;

/// Pieces between barriers: how many are done and how many may be.
#[derive(Default)]
struct Gate {
    done: AtomicU64,
    allowed: AtomicU64,
}

impl Gate {
    fn wait_for_leave(&self, pieces: u64) {
        spin_until(|| self.allowed.load(Ordering::Acquire) >= pieces);
    }

    fn finish(&self) -> u64 {
        self.done.fetch_add(1, Ordering::AcqRel) + 1
    }
}

/// Yields after a while, for machines that have no core to spare.
fn spin_until(reached: impl Fn() -> bool) {
    let mut turns = 0u32;
    while !reached() {
        turns = turns.saturating_add(1);
        match turns {
            ..10_000 => std::hint::spin_loop(),
            _ => std::thread::yield_now(),
        }
    }
}

/// The barrier of a step: one more piece is done; waits for leave to go on.
extern "C" fn pause(gate: *mut c_void) {
    // SAFETY: the step was given a gate that outlives it.
    let gate = unsafe { &*gate.cast::<Gate>() };
    let done = gate.finish();
    gate.wait_for_leave(done + 1);
}

/// The same step over and over, kernel by kernel.
pub struct Stepper {
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
    /// Kernel of every piece of a step, in order; some kernels meet at a barrier of their own.
    pieces: Vec<usize>,
}

impl Stepper {
    /// The last `tokens` of `context` positions.
    pub fn new(plan: &Plan, loaded: &'static Loaded, tokens: usize, context: usize, kv: KvType) -> Stepper {
        let gate = Arc::new(Gate::default());
        let pieces = pieces(plan, tokens);
        let expected = pieces.len() as u64;
        let computing = gate.clone();
        let thread = std::thread::spawn(move || steps(loaded, tokens, context, kv, &computing, expected));
        Stepper { gate, thread: Some(thread), pieces }
    }

    /// Kernel of the next piece.
    fn next(&self) -> usize {
        self.pieces[self.gate.done.load(Ordering::Acquire) as usize % self.pieces.len()]
    }

    fn piece(&self) {
        let done = self.gate.done.load(Ordering::Acquire);
        self.gate.allowed.store(done + 1, Ordering::Release);
        spin_until(|| {
            let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!ended, "the computing thread ended; what it said is above");
            self.gate.done.load(Ordering::Acquire) != done
        });
    }

    /// Runs what stands before the next run of the kernel.
    pub fn advance_to(&self, kernel: usize) {
        while self.next() == kernel {
            self.piece();
        }
        while self.next() != kernel {
            self.piece();
        }
    }

    /// Runs the kernel.
    pub fn run(&self, kernel: usize) {
        while self.next() == kernel {
            self.piece();
        }
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.gate.allowed.store(ALL, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its panic was told by itself.
            let _ = thread.join();
        }
    }
}

fn pieces(plan: &Plan, tokens: usize) -> Vec<usize> {
    let kernels: Vec<&Kernel> = plan.kernels().map(|(_, kernel)| kernel).collect();
    let of = |numbers: Range<u32>| {
        numbers.flat_map(|n| vec![n as usize; barriers(kernels[n as usize], tokens)]).collect::<Vec<usize>>()
    };
    let blocks = plan.layer_kernels();
    let mut all = of(0..blocks.start);
    all.extend(plan.layer_groups().into_iter().flat_map(|group| of(plan.block_range(group))));
    all.extend(of(blocks.end..kernels.len() as u32));
    all
}

/// Rows of several tokens are prepared before all threads go on.
fn barriers(kernel: &Kernel, tokens: usize) -> usize {
    match kernel {
        Kernel::Linear(l) if l.scratch.is_some() => {
            let rows = if l.out == Dest::Logits { outputs(tokens) } else { tokens };
            if rows > 1 {
                2
            } else {
                1
            }
        }
        _ => 1,
    }
}

/// Tokens whose logits are wanted: of a batch all, of a prompt the last.
fn outputs(tokens: usize) -> usize {
    if tokens <= 8 {
        tokens
    } else {
        1
    }
}

/// Runs steps until the gate lets everything pass.
fn steps(loaded: &Loaded, tokens: usize, context: usize, kv: KvType, gate: &Gate, expected: u64) {
    let info = loaded.info();
    let capacity = (context as u64).next_multiple_of(16);
    let mut cache = Memory::new(info.kv_bytes(kv, capacity) as usize);
    // Small numbers in every type; pages that were never written would all be one page of zeros.
    cache.bytes().fill(0x3c);
    let mut arena = Memory::new(info.arena_bytes(tokens as u64, 1) as usize);
    let mut logits = Memory::new(4 * outputs(tokens) * info.logits_stride as usize);
    let kv_start = cache.bytes().as_mut_ptr();
    let row = |i: usize| Row {
        token: (i * 7919 % info.vocab_rows as usize) as i32,
        position: (context - tokens + i) as u32,
        kv: kv_start,
        adapter: 0,
        reserved: 0,
    };
    let rows: Vec<Row> = (0..tokens).map(row).collect();
    let outputs: Vec<u32> = (0..tokens as u32).skip(tokens - outputs(tokens)).collect();
    let args = StepArgs {
        weights: loaded.weights(),
        arena: arena.bytes().as_mut_ptr(),
        rows: rows.as_ptr(),
        n_rows: tokens as u64,
        outputs: outputs.as_ptr(),
        n_outputs: outputs.len() as u64,
        logits: logits.bytes().as_mut_ptr().cast(),
        kv_capacity: capacity,
        kv_type: kv as u64,
        max_rows: tokens as u64,
        threads: 1,
        barrier: pause,
        barrier_data: std::ptr::from_ref(gate).cast_mut().cast(),
        observer: None,
        observer_data: std::ptr::null_mut(),
    };
    gate.wait_for_leave(1);
    let mut before = 0;
    while gate.allowed.load(Ordering::Acquire) != ALL {
        // SAFETY: everything that the arguments point to outlives the call, and there is one thread.
        unsafe { (info.step)(&args, 0) };
        let done = gate.done.load(Ordering::Acquire);
        assert_eq!(done - before, expected, "pieces of a step: kernels have other barriers now");
        before = done;
    }
}
