//! Generated code, its weights, its threads and its scratch memory: what runs one step.
//!
//! In: rows (token, position, cache) and which of them want logits. Out: logits. Invariant: rows
//! handed to generated code have tokens below `vocab_rows`; scratch fits the largest step. The only caller
//! of generated code's arguments: what `StepArgs` promises is kept or broken here.

use qwenc_abi::{KvType, ModelInfo, Row, StepArgs, ABI_VERSION};

use crate::error::{Error, Result};
use crate::inference::memory::Region;
use crate::threads::barrier::Barrier;
use crate::threads::cores::Placement;
use crate::threads::pool::Pool;

/// Rows of the largest step when nobody says.
pub const DEFAULT_CHUNK: usize = 512;

/// A model ready to run.
pub struct Engine<'m> {
    model: &'m ModelInfo,
    weights: &'m [u8],
    pool: Pool,
    arena: Region,
    logits: Region,
    max_rows: usize,
}

impl<'m> Engine<'m> {
    /// Starts `threads` threads and reserves scratch for steps of at most `max_rows` rows.
    ///
    /// # Safety
    /// `model.step` must keep to the contract of `StepFn` for these weights, and the processor must
    /// have the features that it was compiled for.
    pub unsafe fn new(
        model: &'m ModelInfo,
        weights: &'m [u8],
        threads: impl Into<Placement>,
        max_rows: usize,
    ) -> Result<Engine<'m>> {
        if model.abi_version != ABI_VERSION {
            return Err(Error::AbiVersion { expected: ABI_VERSION, found: model.abi_version });
        }
        let max_rows = max_rows.max(1);
        let pool = Pool::new(threads.into())?;
        let arena_bytes = model.arena_bytes(max_rows as u64, pool.threads() as u64);
        let arena = Region::zeroed(arena_bytes, "scratch memory", "--chunk or --threads")?;
        let row_bytes = u64::from(model.logits_stride) * size_of::<f32>() as u64;
        let logits = Region::zeroed(row_bytes * max_rows as u64, "logits", "--chunk")?;
        Ok(Engine { model, weights, pool, arena, logits, max_rows })
    }

    /// The model that this runs.
    pub fn model(&self) -> &'m ModelInfo {
        self.model
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Where they run.
    pub fn placement(&self) -> &Placement {
        self.pool.placement()
    }

    /// Rows of the largest step.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Refuses a token that the model does not have.
    pub fn check_token(&self, token: u32) -> Result<()> {
        check_token(self.model, token)
    }

    /// Runs one step; `outputs` are ascending indices into `rows` whose logits are wanted.
    ///
    /// # Safety
    /// Every `Row::kv` must hold `kv_capacity` positions of type `kv`, be 64-byte aligned and belong to
    /// nobody else during the call, and rows must be ordered as `Row::position` says.
    pub(crate) unsafe fn step(&mut self, rows: &[Row], outputs: &[u32], kv_capacity: usize, kv: KvType) {
        debug_assert!(!rows.is_empty() && rows.len() <= self.max_rows && outputs.len() <= rows.len());
        let args = StepArgs {
            weights: self.weights.as_ptr(),
            arena: self.arena.as_mut_ptr(),
            rows: rows.as_ptr(),
            n_rows: rows.len() as u64,
            outputs: outputs.as_ptr(),
            n_outputs: outputs.len() as u64,
            logits: self.logits.as_mut_ptr().cast(),
            kv_capacity: kv_capacity as u64,
            kv_type: kv as u64,
            max_rows: self.max_rows as u64,
            threads: self.pool.threads() as u64,
            barrier: Barrier::wait_raw,
            barrier_data: std::ptr::null_mut(),
        };
        // SAFETY: `new` was promised a conforming step; the regions above are as large as the
        // contract asks and ours alone.
        unsafe { self.pool.run(self.model.step, args) }
    }

    /// Logits of the last step's output `index`, padding rows of the vocabulary included.
    pub(crate) fn logits(&self, index: usize) -> &[f32] {
        let (stride, rows) = (self.model.logits_stride as usize, self.model.vocab_rows as usize);
        debug_assert!(index < self.max_rows);
        // SAFETY: the region holds max_rows rows of stride floats (zero is a valid one), 64-byte
        // aligned; stride >= vocab_rows.
        unsafe { std::slice::from_raw_parts(self.logits.as_ptr().cast::<f32>().add(index * stride), rows) }
    }
}

/// Refuses a token that `model` does not have.
pub fn check_token(model: &ModelInfo, token: u32) -> Result<()> {
    if token < model.vocab_rows {
        return Ok(());
    }
    Err(Error::TokenRange { token, last: model.vocab_rows.saturating_sub(1) })
}
