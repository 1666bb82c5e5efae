//! The call from the runtime into generated code: one step runs `n_rows` tokens through the model.
//!
//! Every worker thread calls [`StepFn`] once with the same [`StepArgs`] and its own index; generated
//! code meets at `barrier` between stages.
//!
//! The cache of a sequence holds `capacity` positions in elements of [`KvType::element_bytes`]. It is one record
//! per layer, each of `capacity * kv_bytes_per_position / layers` bytes, which is in this order and without gaps
//! (`head_dim` is [`ModelInfo::kv_head_dim`]):
//!
//! - keys, `[kv_heads][capacity / 16][head_dim][16]`: a head's keys are tiles of 16 positions;
//! - values, `[kv_heads][capacity][head_dim]`; with [`KvType::Bf16`] two positions' values lie together,
//!   `[kv_heads][capacity / 2][head_dim][2]`, and likewise two dimensions' keys,
//!   `[kv_heads][capacity / 16][head_dim / 2][16][2]`;
//! - with [`KvType::I8`] only: the keys' scales, f32 `[kv_heads][capacity]`, then the values' scales, the same.

use core::ffi::c_void;

use serde::{Deserialize, Serialize};

/// Element type of the KV cache. The caller of a step chooses; generated code reads and writes every one.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Keys and values as they were computed.
    F32 = 0,
    /// Rounded to the nearest, ties to even.
    Bf16 = 1,
    /// `value = q * scale`, with one scale per position and kv head, for keys and for values.
    I8 = 2,
}

impl KvType {
    /// Every one, in the order of the numbers.
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::Bf16, KvType::I8];

    /// Bytes of a key's or value's element, scales not counted.
    pub fn element_bytes(self) -> u64 {
        match self {
            KvType::F32 => 4,
            KvType::Bf16 => 2,
            KvType::I8 => 1,
        }
    }

    /// Bytes of a position's scale in a head, of which keys and values have one each.
    pub fn scale_bytes(self) -> u64 {
        match self {
            KvType::F32 | KvType::Bf16 => 0,
            KvType::I8 => 4,
        }
    }

    /// Spelling of the type in flags and metadata.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::Bf16 => "bf16",
            KvType::I8 => "int8",
        }
    }

    /// The type of this [`KvType::name`].
    pub fn named(name: &str) -> Option<KvType> {
        KvType::ALL.into_iter().find(|ty| ty.name() == name)
    }
}

/// One token of a step: which token, where it stands, the KV cache and the adapter of its sequence.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Token id, in `0..vocab_rows`. The runtime checks the range.
    pub token: i32,
    /// Position in the sequence, in `0..kv_capacity`. Rows of one sequence are consecutive in the
    /// step and in ascending position.
    pub position: u32,
    /// The sequence's cache: `kv_capacity * kv_bytes_per_position[kv_type]` bytes, 64-byte aligned,
    /// zeroed when fresh.
    pub kv: *mut u8,
    /// The sequence's adapter, counted from 1 in the order in which the model was compiled with them; 0: none.
    pub adapter: u32,
    /// Zero.
    pub reserved: u32,
}

/// Everything a step reads and writes. All pointers stay valid and unaliased during the step.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StepArgs {
    /// The packed weights, `weights_bytes` long, page-aligned.
    pub weights: *const u8,
    /// Scratch of [`ModelInfo::arena_bytes`] bytes, 64-byte aligned. Its first `threads ·
    /// arena_counters` bytes are zero before the first step, and left to generated code after.
    pub arena: *mut u8,
    /// `[n_rows]`.
    pub rows: *const Row,
    /// Tokens in this step, `1..=max_rows` of the arena.
    pub n_rows: u64,
    /// `[n_outputs]` indices into `rows` whose logits are wanted, ascending.
    pub outputs: *const u32,
    /// May be 0: then the head is not run.
    pub n_outputs: u64,
    /// `[n_outputs, logits_stride]`, 64-byte aligned.
    pub logits: *mut f32,
    /// Positions that every `Row::kv` holds; a multiple of `KV_POSITIONS`.
    pub kv_capacity: u64,
    /// The [`KvType`] of every `Row::kv`, as a number.
    pub kv_type: u64,
    /// Rows that the arena was sized for (`max_rows` of [`ModelInfo::arena_bytes`]).
    pub max_rows: u64,
    /// Number of threads calling the step.
    pub threads: u64,
    /// Waits until all threads of the step have arrived.
    pub barrier: extern "C" fn(*mut c_void),
    /// Argument of `barrier`.
    pub barrier_data: *mut c_void,
    /// Called after each kernel by one thread, while the others wait and nothing is written: what is in the arena
    /// is what the kernel left. Usually none.
    pub observer: Option<ObserverFn>,
    /// Argument of `observer`.
    pub observer_data: *mut c_void,
}

/// An observer: its data, the number of the kernel that has just run, and the layer, 0 outside of the block.
pub type ObserverFn = unsafe extern "C" fn(data: *mut c_void, kernel: u64, layer: u64);

/// Generated entry: all `threads` threads call it with the same arguments and their own index.
pub type StepFn = unsafe extern "C" fn(args: *const StepArgs, thread: u64);

/// Place of the last hidden state of a step's rows, before the final norm.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// Behind what the arena holds besides rows, in bytes for each row of the largest step.
    pub offset: u64,
    /// From one row to the next.
    pub row_bytes: u64,
    /// Floats of a row (hidden_size).
    pub width: u64,
    /// f32 `[width]`, the final norm's gain, in bytes from the start of the packed weights; `u64::MAX`: none.
    pub gain: u64,
}

/// The model as generated code describes itself: one constant in the object file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ModelInfo {
    /// Must equal `ABI_VERSION`.
    pub abi_version: u32,
    /// Rows of the embedding and logits per position, padding rows of the checkpoint included.
    pub vocab_rows: u32,
    /// Floats between two rows of `StepArgs::logits` (`vocab_rows` rounded up to 32).
    pub logits_stride: u32,
    /// Layers of the model.
    pub layers: u32,
    /// Longest context the model was trained for, in tokens (max_position_embeddings).
    pub max_context: u32,
    /// Key and value heads of a layer.
    pub kv_heads: u32,
    /// Elements of a head's key, or value, in the cache.
    pub kv_head_dim: u32,
    /// The step function.
    pub step: StepFn,
    /// Exact size of the packed weights.
    pub weights_bytes: u64,
    /// Bytes of KV cache per position, over all layers, by the number of its [`KvType`].
    pub kv_bytes_per_position: [u64; 3],
    /// Arena bytes per thread that count work as it is taken; they stand first.
    pub arena_counters: u64,
    /// Arena bytes per row of the largest step.
    pub arena_per_row: u64,
    /// Other arena bytes per thread.
    pub arena_per_thread: u64,
    /// Comma-separated x86 feature names as `is_x86_feature_detected!` spells them, UTF-8, not
    /// NUL-terminated: what the code may execute.
    pub features: *const u8,
    /// Length of `features` in bytes.
    pub features_len: u64,
    /// The last hidden state; other arena bytes than rows are the counters.
    pub hidden: Hidden,
}

// SAFETY: the pointers are to constants of the executable.
unsafe impl Sync for ModelInfo {}

impl ModelInfo {
    /// Bytes of a cache of `positions`, at most `u64::MAX`.
    pub fn kv_bytes(&self, ty: KvType, positions: u64) -> u64 {
        self.kv_bytes_per_position[ty as usize].saturating_mul(positions)
    }

    /// Bytes of arena for steps of at most `max_rows` rows on `threads` threads.
    pub fn arena_bytes(&self, max_rows: u64, threads: u64) -> u64 {
        self.arena_per_row * max_rows + (self.arena_counters + self.arena_per_thread) * threads
    }
}

/// Which code this is and which weights it was made for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the model's object file.
    pub code_id: [u8; 32],
    /// SHA-256 of the image's sections (weights, then tokenizer, then metadata).
    pub weights_id: [u8; 32],
}

impl Identity {
    /// Identity of code whose weights are not packed yet: zeros stand for their hash.
    pub fn unpacked(code_id: [u8; 32]) -> Identity {
        Identity { code_id, weights_id: [0; 32] }
    }

    /// The bytes as they lie in memory.
    pub fn bytes(&self) -> [u8; 64] {
        let mut all = [0; 64];
        all[..32].copy_from_slice(&self.code_id);
        all[32..].copy_from_slice(&self.weights_id);
        all
    }
}
