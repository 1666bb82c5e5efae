//! Generated code on threads of this process, with their scratch memory.
//!
//! In: a step. Out: logits, for which the step is waited for. Invariant: scratch fits the largest step. The only
//! caller of generated code's arguments: what `StepArgs` promises is kept or broken here.

use qwenc_abi::{KvType, ModelInfo, StepArgs, ABI_VERSION};

use crate::error::{Error, Result};
use crate::inference::activation_capture::{Recorder, Watch};
use crate::inference::memory::Region;
use crate::inference::step::Step;
use crate::threads::barrier::Barrier;
use crate::threads::cores::Placement;
use crate::threads::pool::Pool;

/// Code, its weights, its threads and its scratch memory.
pub struct Cpu<'m> {
    model: &'m ModelInfo,
    weights: &'m [u8],
    pool: Pool,
    arena: Region,
    logits: Region,
    max_rows: usize,
    /// Recorder of activations, while they are captured.
    pub(crate) recorder: Option<Recorder>,
}

impl<'m> Cpu<'m> {
    /// Starts the threads and reserves scratch for steps of at most `max_rows` rows.
    ///
    /// # Safety
    /// As for [`crate::inference::engine::Engine::new`].
    pub(crate) unsafe fn new(
        model: &'m ModelInfo,
        weights: &'m [u8],
        threads: Placement,
        max_rows: usize,
    ) -> Result<Cpu<'m>> {
        if model.abi_version != ABI_VERSION {
            return Err(Error::AbiVersion { expected: ABI_VERSION, found: model.abi_version });
        }
        let pool = Pool::new(threads)?;
        let arena_bytes = model.arena_bytes(max_rows as u64, pool.threads() as u64);
        let arena = Region::zeroed(arena_bytes, "scratch memory", "--chunk or --threads")?;
        let row_bytes = u64::from(model.logits_stride) * size_of::<f32>() as u64;
        let logits = Region::zeroed(row_bytes * max_rows as u64, "logits", "--chunk")?;
        Ok(Cpu { model, weights, pool, arena, logits, max_rows, recorder: None })
    }

    /// The model.
    pub(crate) fn model(&self) -> &'m ModelInfo {
        self.model
    }

    /// Memory for a cache of `bytes`.
    pub(crate) fn cache(kv: KvType, bytes: u64) -> Result<Region> {
        let name = match kv {
            KvType::F32 => "f32 KV cache",
            KvType::Bf16 => "bf16 KV cache",
            KvType::I8 => "int8 KV cache",
        };
        Region::zeroed(bytes, name, "--context, or choose a smaller --kv-type")
    }

    /// CPUs on which the threads run.
    pub(crate) fn placement(&self) -> &Placement {
        self.pool.placement()
    }

    /// Rows of the largest step.
    pub(crate) fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Runs one step to its end.
    ///
    /// # Safety
    /// As for [`crate::inference::engine::Engine::step`]; caches must be 64-byte aligned.
    pub(crate) unsafe fn step(&mut self, step: &Step) {
        let arena = self.arena.as_mut_ptr();
        let threads = self.pool.threads() as u64;
        let mut watch = self.recorder.as_mut().map(|recorder| Watch {
            recorder,
            arena,
            counters: self.model.arena_counters * threads,
            max_rows: self.max_rows as u64,
            rows: step.rows.len(),
        });
        let args = StepArgs {
            weights: self.weights.as_ptr(),
            arena,
            rows: step.rows.as_ptr(),
            n_rows: step.rows.len() as u64,
            outputs: step.outputs.as_ptr(),
            n_outputs: step.outputs.len() as u64,
            logits: self.logits.as_mut_ptr().cast(),
            kv_capacity: step.kv_capacity as u64,
            kv_type: step.kv as u64,
            max_rows: self.max_rows as u64,
            threads,
            barrier: Barrier::wait_raw,
            barrier_data: std::ptr::null_mut(),
            observer: watch.is_some().then_some(Watch::observe),
            observer_data: watch.as_mut().map_or(std::ptr::null_mut(), |watch| (&raw mut *watch).cast()),
        };
        // SAFETY: `new` was promised a conforming step; the regions above are as large as the
        // contract asks and ours alone.
        unsafe { self.pool.run(self.model.step, args) }
    }

    /// The last hidden state of the last step's row `row`, and the final norm's gain.
    pub(crate) fn state(&self, row: usize) -> Result<(&[f32], Option<&[f32]>)> {
        let hidden = &self.model.hidden;
        let before = self.model.arena_counters * self.pool.threads() as u64;
        let at = hidden.offset.checked_mul(self.max_rows as u64).and_then(|n| n.checked_add(before));
        let at = at.and_then(|n| n.checked_add(hidden.row_bytes.checked_mul(row as u64)?));
        // SAFETY: all of the region, which no thread writes to between steps.
        let arena = unsafe { std::slice::from_raw_parts(self.arena.as_ptr(), self.arena.bytes()) };
        let state = at.and_then(|at| floats(arena, at, hidden.width));
        let gain = (hidden.gain != u64::MAX).then(|| floats(self.weights, hidden.gain, hidden.width));
        match (state, gain) {
            (Some(state), None) => Ok((state, None)),
            (Some(state), Some(Some(gain))) => Ok((state, Some(gain))),
            _ => Err(Error::Internal("the code has its last hidden state outside of its memory".into())),
        }
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

/// `count` floats at a place that is a multiple of 4; none outside of `bytes`, which begin at one too.
fn floats(bytes: &[u8], at: u64, count: u64) -> Option<&[f32]> {
    let end = count.checked_mul(4).and_then(|n| n.checked_add(at))?;
    let part = bytes.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)?;
    // SAFETY: every pattern of bits is a float.
    let (before, floats, after) = unsafe { part.align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(floats)
}
