//! Generated CUDA kernels on the host, and steps of them: what the runtime does, in little.
//!
//! In: a plan, weights, rows. Out: logits. Invariant: memory starts as garbage but for the counters and caches; every
//! launch runs in an order of its own, which follows from the seed.

use qwenc_abi::{Blocks, CudaLaunch, CudaModel, CudaStep, KvType, Of, Row, CUDA_SLACK};
use qwenc_cuda::Source;
use qwenc_ir::{Checked, WeightSource};
use qwenc_plan::{pack, Dictionaries, Plan};
use qwenc_tests::host_cuda::{load, Kernels, Memory, Shape};

/// Kernels and weights of a model.
pub struct Device {
    pub kernels: Kernels,
    pub model: CudaModel,
    weights: Memory<u8>,
}

impl Device {
    /// Generates, compiles for the host, and packs.
    pub fn of(plan: &Checked<Plan>, source: &dyn WeightSource) -> Device {
        Device::with(&qwenc_cuda::emit(plan).unwrap(), plan, source)
    }

    /// With code that may have been changed.
    pub fn with(code: &Source, plan: &Checked<Plan>, source: &dyn WeightSource) -> Device {
        let mut image = Vec::new();
        pack(plan, (source, &Dictionaries::default()), &mut image, &mut |_| {}).unwrap();
        assert_eq!(image.len() as u64, code.model.weights_bytes);
        image.resize(image.len() + CUDA_SLACK as usize, 0xFF);
        Device { kernels: load(&code.text), model: code.model.clone(), weights: Memory::of(&image) }
    }
}

/// A token, its position, and which cache it belongs to.
pub type Place = (u32, usize, usize);

/// Scratch and caches for one device.
pub struct Stepper<'a> {
    device: &'a Device,
    kv: KvType,
    capacity: u64,
    max_rows: usize,
    arena: Memory<u8>,
    counters: Memory<u32>,
    logits: Memory<f32>,
    caches: Vec<Memory<u8>>,
    /// Adapter of each sequence, from 1; 0: none.
    pub adapters: Vec<u32>,
    seed: u64,
    /// Steps of one row are one launch of so many blocks.
    pub persistent: Option<u32>,
    /// Memory is weakly ordered: blocks see each other's stores only through fences, and those of the launch before only after
    /// they have waited for it.
    pub fences: bool,
    /// Most blocks side by side of kernels that take what is left in turn.
    pub blocks: u32,
}

impl<'a> Stepper<'a> {
    pub fn new(
        device: &'a Device,
        kv: KvType,
        caches: usize,
        positions: usize,
        max_rows: usize,
    ) -> Stepper<'a> {
        let model = &device.model;
        let capacity = (positions as u64).next_multiple_of(u64::from(model.kv_positions));
        let kv_bytes = (model.kv_bytes_per_position[kv as usize] * capacity) as usize;
        let arena = vec![0xFF; model.arena.bytes(max_rows as u64, capacity) as usize];
        Stepper {
            device,
            kv,
            capacity,
            max_rows,
            arena: Memory::of(&arena),
            counters: Memory::of(&vec![0; model.counters as usize]),
            logits: Memory::of(&vec![f32::NAN; max_rows * model.logits_stride as usize]),
            caches: (0..caches).map(|_| Memory::of(&vec![0; kv_bytes])).collect(),
            adapters: vec![0; caches],
            seed: 1,
            persistent: None,
            fences: false,
            blocks: u32::MAX,
        }
    }

    /// Orders of everything follow from this.
    pub fn seed(mut self, seed: u64) -> Stepper<'a> {
        self.seed = seed << 32;
        self
    }

    /// One step; the logits of every row and the likeliest tokens.
    pub fn step(&mut self, rows: &[Place]) -> (Vec<Vec<f32>>, Vec<u32>) {
        let model = &self.device.model;
        assert!(rows.len() <= self.max_rows);
        let row = |&(token, position, cache): &Place| Row {
            token: token as i32,
            position: position as u32,
            kv: self.caches[cache].address() as *mut u8,
            adapter: self.adapters[cache],
            reserved: 0,
        };
        let n = rows.len() as u32;
        let rows = Memory::of(&rows.iter().map(row).collect::<Vec<_>>());
        let outputs = Memory::of(&(0..n).collect::<Vec<_>>());
        let picks = Memory::of(&vec![0u32; n as usize]);
        let mut step = CudaStep {
            weights: self.device.weights.address(),
            arena: self.arena.address(),
            rows: rows.address(),
            outputs: outputs.address(),
            logits: self.logits.address(),
            picks: picks.address(),
            allowed: 0,
            counters: self.counters.address(),
            kv_capacity: self.capacity,
            n_rows: n,
            n_outputs: n,
            max_rows: self.max_rows as u32,
            layer: 0,
            kv_type: self.kv as u32,
            advance: 0,
        };
        if self.fences {
            let mut regions = vec![self.arena.region(), self.logits.region(), rows.region(), picks.region()];
            regions.extend(self.caches.iter().map(Memory::region));
            self.device.kernels.share(&regions);
        }
        if let (Some(blocks), 1) = (self.persistent, n) {
            self.launch_one(model.persistent.as_ref().unwrap(), &step, [blocks, 1, 1], true);
        } else {
            self.launch_all(&mut step);
        }
        if self.fences {
            self.launch_probes(&step);
        }
        self.device.kernels.share(&[]);
        assert!(self.counters.to_vec().iter().all(|&c| c == 0), "counters are not left zero");
        let logits = self.logits.to_vec();
        let lines = logits.chunks(model.logits_stride as usize).take(n as usize);
        (lines.map(|line| line[..model.vocab_rows as usize].to_vec()).collect(), picks.to_vec())
    }

    fn launch_all(&mut self, step: &mut CudaStep) {
        let model = &self.device.model;
        let n = step.n_rows;
        let variant = model.variants.iter().find(|v| n <= v.max_rows).unwrap();
        self.launch(&variant.prologue, step);
        for (layer, &group) in (0..).zip(&model.layer_groups) {
            step.layer = layer;
            self.launch(&variant.blocks[group as usize], step);
        }
        step.layer = 0;
        self.launch(&variant.head, step);
    }

    /// Launches the probe kernels, so that their waits are tested too.
    fn launch_probes(&mut self, step: &CudaStep) {
        let probes = self.device.model.probes.as_ref().unwrap();
        self.launch_one(&probes.launch, step, [1, 1, 1], false);
        self.launch_one(&probes.reading, step, [3, 1, 1], false);
        self.launch_one(&probes.barriers, step, [3, 1, 1], true);
    }

    fn launch(&mut self, launches: &[CudaLaunch], step: &CudaStep) {
        for launch in launches {
            let mut grid = launch.grid.map(|b| blocks(&b, step));
            if launch.in_turn {
                grid[0] = grid[0].min(self.blocks);
            }
            self.launch_one(launch, step, grid, false);
        }
    }

    fn launch_one(&mut self, launch: &CudaLaunch, step: &CudaStep, grid: [u32; 3], is_cooperative: bool) {
        self.seed += 1;
        let (threads, shared_bytes) = (launch.threads, launch.shared_bytes);
        // In coherent memory a dependent launch is like any other.
        let is_early = launch.waits && self.fences;
        let shape = Shape { grid, threads, shared_bytes, is_cooperative, is_early };
        let done = self.device.kernels.launch(&launch.kernel, step, shape, self.seed);
        done.unwrap_or_else(|e| panic!("{}: {e}", launch.kernel));
    }
}

fn blocks(b: &Blocks, step: &CudaStep) -> u32 {
    let of = match b.of {
        Of::One => 1,
        Of::Rows => step.n_rows,
        Of::Outputs => step.n_outputs,
    };
    b.times * of.div_ceil(b.tile)
}
