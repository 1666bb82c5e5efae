//! Generated code as a shared library, and a way to call it: what the runtime does, in little.
//!
//! In: a plan, a CPU, rows. Out: logits. Invariant: scratch memory starts as garbage but for its counters.

use std::ffi::c_void;
use std::process::Command;
use std::sync::Barrier;

use qwenc_abi::{KvType, ModelInfo, ObserverFn, Row, StepArgs};
use qwenc_ir::{Checked, WeightSource};
use qwenc_llvm::{emit, Cpu};
use qwenc_plan::{pack, Dictionaries, Plan};

/// Generated code, linked and loaded, with its weights.
pub struct Loaded {
    _library: libloading::Library,
    info: *const ModelInfo,
    weights: Memory,
}

// SAFETY: the library is constant once loaded.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// Compiles, links and loads; packs the weights of `source`.
    pub fn of(plan: &Checked<Plan>, cpu: &str, source: &dyn WeightSource) -> Loaded {
        let artifact = emit(plan, &Cpu::named(cpu).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (object, library) = (folder.path().join("model.o"), folder.path().join("model.so"));
        std::fs::write(&object, artifact.object).unwrap();
        let status = Command::new("cc").arg("-shared").arg(&object).arg("-o").arg(&library).status().unwrap();
        assert!(status.success());
        // SAFETY: the library has no initialisers.
        let library = unsafe { libloading::Library::new(&library) }.unwrap();
        // SAFETY: the symbol is the constant that describes the model.
        let info: *const ModelInfo = *unsafe { library.get(b"qwenc_model") }.unwrap();
        let mut image = Vec::new();
        pack(plan, (source, &Dictionaries::default()), &mut image, &mut |_| {}).unwrap();
        assert_eq!(image.len() as u64, plan.weights_bytes);
        let mut weights = Memory::new(image.len());
        weights.bytes()[..image.len()].copy_from_slice(&image);
        Loaded { _library: library, info, weights }
    }

    /// The model's description.
    pub fn info(&self) -> &ModelInfo {
        // SAFETY: it lives in the library, which lives as long as this.
        unsafe { &*self.info }
    }

    /// The packed weights, to be damaged.
    pub fn weights_mut(&mut self) -> &mut [u8] {
        self.weights.bytes()
    }

    /// Start of the packed weights.
    pub fn weights(&self) -> *const u8 {
        self.weights.start()
    }
}

/// A machine for one loaded model: threads and scratch.
pub struct Runner<'a> {
    loaded: &'a Loaded,
    threads: usize,
    max_rows: usize,
    arena: Memory,
    logits: Memory,
}

/// A token, its position, and which cache it belongs to.
pub type Place = (u32, usize, usize);

impl<'a> Runner<'a> {
    pub fn new(loaded: &'a Loaded, max_rows: usize, threads: usize) -> Runner<'a> {
        let info = loaded.info();
        assert_eq!(info.abi_version, qwenc_abi::ABI_VERSION);
        let mut arena = Memory::new(info.arena_bytes(max_rows as u64, threads as u64) as usize);
        // Stale memory must not matter.
        arena.bytes()[info.arena_counters as usize * threads..].fill(0xFF);
        let logits = Memory::new(4 * max_rows * info.logits_stride as usize);
        Runner { loaded, threads, max_rows, arena, logits }
    }

    /// One step; returns the logits of every row.
    pub fn step(&mut self, rows: &[Place], caches: &mut Caches) -> Vec<Vec<f32>> {
        self.run(rows, caches, None)
    }

    /// The rows of the arena after each kernel of a step: its number, and what stands there.
    pub fn watched(&mut self, rows: &[Place], caches: &mut Caches) -> Vec<(u64, Vec<u8>)> {
        let before = self.loaded.info().arena_counters as usize * self.threads;
        let arena = &mut self.arena.bytes()[before..];
        let mut watch = Watch { arena: arena.as_ptr(), bytes: arena.len(), seen: Vec::new() };
        self.run(rows, caches, Some(&mut watch));
        watch.seen
    }

    fn run(&mut self, rows: &[Place], caches: &mut Caches, watch: Option<&mut Watch>) -> Vec<Vec<f32>> {
        let info = self.loaded.info();
        assert!(rows.len() <= self.max_rows);
        let row = |&(token, position, cache): &Place| Row {
            token: token as i32,
            position: position as u32,
            kv: caches.memory[cache].bytes().as_mut_ptr(),
            adapter: caches.adapters[cache],
            reserved: 0,
        };
        let n = rows.len();
        let rows: Vec<Row> = rows.iter().map(row).collect();
        let outputs: Vec<u32> = (0..n as u32).collect();
        let barrier = Barrier::new(self.threads);
        let args = StepArgs {
            weights: self.loaded.weights(),
            arena: self.arena.bytes().as_mut_ptr(),
            rows: rows.as_ptr(),
            n_rows: n as u64,
            outputs: outputs.as_ptr(),
            n_outputs: n as u64,
            logits: self.logits.bytes().as_mut_ptr().cast(),
            kv_capacity: caches.capacity,
            kv_type: caches.ty as u64,
            max_rows: self.max_rows as u64,
            threads: self.threads as u64,
            barrier: wait,
            barrier_data: std::ptr::from_ref(&barrier).cast_mut().cast(),
            observer: watch.is_some().then_some(see as ObserverFn),
            observer_data: watch.map_or(std::ptr::null_mut(), |watch| std::ptr::from_mut(watch).cast()),
        };
        let shared = Shared(&args);
        std::thread::scope(|s| {
            for thread in 0..self.threads as u64 {
                let shared = &shared;
                // SAFETY: all pointers of the arguments outlive the scope, and every thread has its number.
                s.spawn(move || unsafe { (info.step)(shared.get(), thread) });
            }
        });
        let floats: Vec<f32> = self
            .logits
            .bytes()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let lines = floats.chunks(info.logits_stride as usize).take(n);
        lines.map(|line| line[..info.vocab_rows as usize].to_vec()).collect()
    }
}

/// Memory that is copied after each kernel.
struct Watch {
    arena: *const u8,
    bytes: usize,
    seen: Vec<(u64, Vec<u8>)>,
}

extern "C" fn see(watch: *mut c_void, kernel: u64, _layer: u64) {
    // SAFETY: the step was given a watch that outlives it, and one thread calls this while the others wait.
    let watch = unsafe { &mut *watch.cast::<Watch>() };
    // SAFETY: it is the step's arena.
    let arena = unsafe { std::slice::from_raw_parts(watch.arena, watch.bytes) };
    watch.seen.push((kernel, arena.to_vec()));
}

/// KV caches of several sequences, of one type and capacity.
pub struct Caches {
    ty: KvType,
    capacity: u64,
    memory: Vec<Memory>,
    /// Adapter of each sequence, from 1; 0: none.
    pub adapters: Vec<u32>,
}

impl Caches {
    pub fn new(loaded: &Loaded, ty: KvType, count: usize, positions: usize) -> Caches {
        let capacity = (positions as u64).next_multiple_of(qwenc_abi::KV_POSITIONS);
        let bytes = loaded.info().kv_bytes(ty, capacity) as usize;
        let memory = (0..count).map(|_| Memory::new(bytes)).collect();
        Caches { ty, capacity, memory, adapters: vec![0; count] }
    }
}

struct Shared(*const StepArgs);

// SAFETY: the arguments are only read.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *const StepArgs {
        self.0
    }
}

extern "C" fn wait(barrier: *mut c_void) {
    // SAFETY: the step was given a barrier that outlives it.
    unsafe { &*barrier.cast::<Barrier>() }.wait();
}

/// Zeroed bytes that start at a multiple of 64.
pub struct Memory(Vec<u64>);

impl Memory {
    pub fn new(bytes: usize) -> Memory {
        Memory(vec![0; bytes / 8 + 9])
    }

    fn start(&self) -> *const u8 {
        (self.0.as_ptr() as usize).next_multiple_of(64) as *const u8
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        let skip = self.start() as usize - self.0.as_ptr() as usize;
        let len = self.0.len() * 8 - skip;
        // SAFETY: `skip` is less than 64, and the vector is longer than that.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<u8>().add(skip), len) }
    }
}
