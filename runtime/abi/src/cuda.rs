//! The call from the runtime into generated CUDA kernels, and the bundle that carries them in an executable.
//!
//! A bundle is `[u64 length of the JSON][JSON of CudaModel][machine code]`, little-endian; a [`CudaModule`] says
//! where in the machine code it stands. Every kernel takes one argument, a [`CudaStep`] by value. A step is, in
//! this order on one stream: the prologue, the block once for each layer (`CudaStep::layer`), and the head if
//! outputs are wanted; nothing else is between two launches.
//!
//! The cache of a sequence holds `capacity` positions, a multiple of [`CudaModel::kv_positions`], in
//! `capacity * kv_bytes_per_position[kv_type]` bytes of device memory, zeroed when fresh. Its layout is the
//! kernels' own.

use serde::{Deserialize, Serialize};

/// Everything a step's kernels read and write. Pointers are addresses of device memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaStep {
    /// The packed weights, `weights_bytes` long and as many as [`CUDA_SLACK`] readable behind them.
    pub weights: u64,
    /// Scratch of [`CudaArena::bytes`] bytes, 256-byte aligned.
    pub arena: u64,
    /// `[n_rows]` of [`crate::Row`], whose `kv` is an address of device memory.
    pub rows: u64,
    /// `[n_outputs]` u32 indices into `rows` whose logits are wanted, ascending.
    pub outputs: u64,
    /// f32 `[n_outputs, logits_stride]`.
    pub logits: u64,
    /// u32 `[n_outputs]`: the likeliest allowed token of each output.
    pub picks: u64,
    /// One bit per row of the vocabulary, u32 words, set where `picks` may be; 0: all may.
    pub allowed: u64,
    /// u32 `[counters]`, zero before the first step and left zero by every step.
    pub counters: u64,
    /// Positions that every `Row::kv` holds.
    pub kv_capacity: u64,
    /// Tokens in this step.
    pub n_rows: u32,
    /// Rows whose logits are wanted.
    pub n_outputs: u32,
    /// Rows that the arena was sized for.
    pub max_rows: u32,
    /// The layer, for kernels of the block; 0 for others.
    pub layer: u32,
    /// A [`crate::KvType`] as a number.
    pub kv_type: u32,
    /// 1: the head also writes each output's pick to its row's token and moves its position on by one, so that
    /// the same step can be launched again for the next token. `outputs` must then be `0..n_rows`.
    pub advance: u32,
}

/// Bytes behind the weights that kernels may read, but never use.
pub const CUDA_SLACK: u64 = 4096;

/// Source of a grid dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// 1.
    One,
    /// Rows of the step.
    Rows,
    /// Wanted outputs.
    Outputs,
}

/// Blocks in one dimension: `times * ceil(of / tile)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// Factor that the step does not change.
    pub times: u32,
    /// Count that changes from step to step.
    pub of: Of,
    /// Rows or outputs that one block takes.
    pub tile: u32,
}

/// One kernel's launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaLaunch {
    /// Name of the function in the module.
    pub kernel: String,
    /// Blocks in x, y and z.
    pub grid: [Blocks; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block; above 48 KiB the function's limit must be raised first.
    pub shared_bytes: u32,
    /// Whether blocks loop over columns of the grid: it may be narrower in x than `grid` says.
    pub in_turn: bool,
    /// Whether the kernel waits for the launches before it (`griddepcontrol.wait`, from sm_90 on), so that it can be a
    /// programmatic dependent launch.
    pub waits: bool,
}

/// The launches of a step of few rows, or of any number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaVariant {
    /// Largest number of rows (for `head`: of outputs) that this is for.
    pub max_rows: u32,
    /// Once, first.
    pub prologue: Vec<CudaLaunch>,
    /// For each layer group, once for each of its layers.
    pub blocks: Vec<Vec<CudaLaunch>>,
    /// Once, last, if outputs are wanted.
    pub head: Vec<CudaLaunch>,
}

/// Probe kernels: they measure the device. The grid of `launch` is one block, that of the others all resident blocks of the
/// device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaProbes {
    /// Empty kernel.
    pub launch: CudaLaunch,
    /// Kernel that reads the weights once.
    pub reading: CudaLaunch,
    /// Kernel of `barrier_count` barriers of all blocks; a cooperative launch.
    pub barriers: CudaLaunch,
    /// Barriers in one launch of `barriers`.
    pub barrier_count: u32,
}

/// Scratch memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaArena {
    /// Whatever the step.
    pub fixed: u64,
    /// Per row, the number of rows rounded up to `row_tile` first.
    pub per_row: u64,
    /// See `per_row`.
    pub row_tile: u32,
    /// Per position of the cache.
    pub per_position: u64,
}

impl CudaArena {
    /// Bytes for steps of at most `max_rows` rows over caches of `kv_capacity` positions.
    pub fn bytes(&self, max_rows: u64, kv_capacity: u64) -> u64 {
        let rows = max_rows.next_multiple_of(u64::from(self.row_tile));
        self.fixed + self.per_row * rows + self.per_position * kv_capacity
    }
}

/// Machine code for one architecture and those that can run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaModule {
    /// Compute capability, 10 times: 90 for 9.0.
    pub sm: u32,
    /// PTX text, which newer drivers and devices compile themselves, and not a cubin.
    pub ptx: bool,
    /// From the start of the machine code.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// The model as generated kernels need it to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaModel {
    /// Must equal `ABI_VERSION`.
    pub abi_version: u32,
    /// Rows of the embedding and logits per position, padding rows of the checkpoint included.
    pub vocab_rows: u32,
    /// Floats between two rows of logits.
    pub logits_stride: u32,
    /// Layers of the model.
    pub layers: u32,
    /// Layer group of each layer, `[layers]`: an index into the variants' `blocks`.
    pub layer_groups: Vec<u32>,
    /// Longest context the model was trained for, in tokens.
    pub max_context: u32,
    /// Key and value heads of a layer.
    pub kv_heads: u32,
    /// Elements of a head's key, or value, in the cache, padding included.
    pub kv_head_dim: u32,
    /// Exact size of the packed weights.
    pub weights_bytes: u64,
    /// Bytes of KV cache per position, over all layers, by the number of its [`crate::KvType`].
    pub kv_bytes_per_position: [u64; 3],
    /// Capacities of caches are a multiple of this many positions.
    pub kv_positions: u32,
    /// Scratch memory.
    pub arena: CudaArena,
    /// The last hidden state; other arena bytes than rows are those before them.
    pub hidden: crate::Hidden,
    /// u32 counters.
    pub counters: u32,
    /// By ascending `max_rows`; the last one's is `u32::MAX`. A step takes prologue and blocks from the first
    /// that its rows fit in, and the head from the first that its outputs fit in.
    pub variants: Vec<CudaVariant>,
    /// A step of one row with one output as a single cooperative launch of as many blocks as the device holds at once;
    /// its grid is 1. Of the two last counters it keeps the number of blocks that have come to its barriers.
    pub persistent: Option<CudaLaunch>,
    /// Probe kernels, if there are any.
    pub probes: Option<CudaProbes>,
    /// The machine code behind this JSON.
    pub modules: Vec<CudaModule>,
}
