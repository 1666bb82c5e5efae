//! Memory requirement of a run on a GPU, to the byte, before anything is allocated.
//!
//! In: the model and what is to be run. Out: bytes. Invariant: what is allocated later is what is counted here;
//! what the driver keeps for itself is not, it is gone from the free memory before that is asked for.

use qwenc_abi::{CudaModel, KvType, CUDA_SLACK};

use super::driver::Context;
use super::mebibytes::mebibytes;
use crate::error::{Error, Result};
use crate::program::Sizes;

/// Capacity of a run: its largest step and its caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Rows of the largest step.
    pub rows: usize,
    /// Rows of a step whose results are wanted, at most.
    pub outputs: usize,
    /// Positions of each cache.
    pub capacity: usize,
    /// Caches.
    pub sequences: usize,
    /// Element type of the caches.
    pub kv: KvType,
}

/// Capacity of the two sets, in outputs: of any step; of decode steps, which have one row for each sequence.
pub(super) fn result_sets(room: &Capacity) -> [usize; 2] {
    let all = room.outputs.max(1);
    [all, all.min(room.sequences.max(1))]
}

/// Bytes by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRequirement {
    /// Packed weights and what may be read behind them.
    pub weights: u64,
    /// All caches.
    pub caches: u64,
    /// Scratch of the kernels.
    pub arena: u64,
    /// Logits of both sets of results.
    pub logits: u64,
    /// Rows, outputs, the bits of allowed tokens, counters.
    pub small: u64,
}

impl MemoryRequirement {
    /// Memory that `model` takes for a capacity.
    pub fn of(model: &CudaModel, room: &Capacity) -> MemoryRequirement {
        let (rows, outputs) = (room.rows as u64, room.outputs as u64);
        let cache = Sizes::from(model).kv_bytes(room.kv, room.capacity as u64);
        let small = rows * size_of::<qwenc_abi::Row>() as u64 + 4 * outputs.max(1);
        MemoryRequirement {
            weights: model.weights_bytes + CUDA_SLACK,
            caches: cache.saturating_mul(room.sequences as u64),
            arena: arena(model, room),
            logits: 4 * u64::from(model.logits_stride) * result_sets(room).iter().sum::<usize>() as u64,
            small: small + 4 * allowed_words(model) + 4 * u64::from(model.counters),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let parts = [self.weights, self.caches, self.arena, self.logits, self.small];
        parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part))
    }

    /// Compares the total with the free memory. Error: `GpuMemory`, with both figures.
    pub(super) fn check(&self, context: &Context) -> Result<()> {
        let free = context.free_memory()?;
        if self.total() <= free {
            return Ok(());
        }
        Err(Error::GpuMemory {
            what: format!("model ({})", self.parts()),
            device: context.device().name.clone(),
            needed: mebibytes(self.total()),
            free: mebibytes(free),
            all: mebibytes(context.device().memory),
        })
    }

    /// The parts in words: `weights 643.0 MiB, KV cache …`.
    pub fn parts(&self) -> String {
        let scratch = self.arena.saturating_add(self.logits).saturating_add(self.small);
        format!(
            "weights {}, KV cache {}, scratch {}",
            mebibytes(self.weights),
            mebibytes(self.caches),
            mebibytes(scratch)
        )
    }
}

/// Bytes of scratch.
fn arena(model: &CudaModel, room: &Capacity) -> u64 {
    let a = &model.arena;
    let rows = (room.rows as u64).next_multiple_of(u64::from(a.row_tile));
    let rows = a.per_row.saturating_mul(rows);
    let positions = a.per_position.saturating_mul(room.capacity as u64);
    a.fixed.saturating_add(rows).saturating_add(positions)
}

/// u32 words that say which tokens are allowed.
pub fn allowed_words(model: &CudaModel) -> u64 {
    u64::from(model.vocab_rows).div_ceil(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::cuda::sample::model;

    #[test]
    fn every_buffer_is_counted() {
        let room = Capacity { rows: 9, outputs: 3, capacity: 128, sequences: 2, kv: KvType::Bf16 };
        let need = MemoryRequirement::of(&model(), &room);
        assert_eq!(need.weights, 80 + 4096);
        assert_eq!(need.caches, 2 * 32 * 128);
        assert_eq!((need.arena, need.arena), (100 + 10 * 16 + 3 * 128, model().arena.bytes(9, 128)));
        assert_eq!(need.logits, (3 + 2) * 32 * 4);
        assert_eq!(need.small, 9 * 24 + 3 * 4 + 4 + 4 * 4);
        assert_eq!(need.total(), need.weights + need.caches + need.arena + need.logits + need.small);
        let none = MemoryRequirement::of(&model(), &Capacity { outputs: 0, ..room });
        assert_eq!(none.logits, 2 * 32 * 4, "a row even if nothing is wanted");
    }

    #[test]
    fn what_is_too_large_to_count_stays_too_large() {
        let room = Capacity { rows: 1, outputs: 1, capacity: usize::MAX, sequences: 16, kv: KvType::F32 };
        assert_eq!(MemoryRequirement::of(&model(), &room).total(), u64::MAX);
    }
}
