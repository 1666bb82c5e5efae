//! A program: its code, its identity, its file. In: what the generated `main` hands over. Out:
//! the same, as one value that every command gets, and the sizes that code for any processor has. Invariant:
//! constants of the program; nothing a user can set belongs here (that is `cli.rs`).

use std::path::PathBuf;

use qwenc_abi::{CudaModel, Identity, KvType, ModelInfo, KV_POSITIONS};

use crate::inference::cuda::bundle::Bundle;

/// An executable: code, identity, file.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its code.
    pub code: Code<'a>,
    /// Which code and weights these are.
    pub identity: &'a Identity,
    /// Its file.
    pub executable: PathBuf,
}

/// The model's code, by what it runs on.
#[derive(Clone, Copy, Debug)]
pub enum Code<'a> {
    /// Functions of this process.
    Cpu(&'a ModelInfo),
    /// Kernels for a GPU.
    Cuda(&'a Bundle<'a>),
}

/// Sizes of a model, the same wherever it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of the embedding and logits per position, padding rows of the checkpoint included.
    pub vocab_rows: u32,
    /// Layers.
    pub layers: u32,
    /// Longest context the model was trained for, in tokens.
    pub max_context: u32,
    /// Key and value heads of a layer.
    pub kv_heads: u32,
    /// Elements of a head's key, or value, in the cache, padding included.
    pub kv_head_dim: u32,
    /// Exact size of the packed weights.
    pub weights_bytes: u64,
    /// Bytes of KV cache per position, over all layers, by the number of its type.
    pub kv_bytes_per_position: [u64; 3],
    /// Capacities of caches are a multiple of this many positions; not 0.
    pub kv_positions: u32,
}

impl Code<'_> {
    /// The model's sizes.
    pub fn sizes(&self) -> Sizes {
        match self {
            Code::Cpu(model) => Sizes::from(*model),
            Code::Cuda(bundle) => Sizes::from(&bundle.model),
        }
    }
}

impl Sizes {
    /// Bytes of a cache of `positions`, at most `u64::MAX`.
    pub fn kv_bytes(&self, ty: KvType, positions: u64) -> u64 {
        self.kv_bytes_per_position[ty as usize].saturating_mul(positions)
    }

    /// Positions in the cache of a sequence of `limit` tokens.
    pub fn capacity(&self, limit: usize) -> usize {
        limit.next_multiple_of(self.kv_positions as usize)
    }
}

impl From<&ModelInfo> for Sizes {
    fn from(model: &ModelInfo) -> Sizes {
        Sizes {
            vocab_rows: model.vocab_rows,
            layers: model.layers,
            max_context: model.max_context,
            kv_heads: model.kv_heads,
            kv_head_dim: model.kv_head_dim,
            weights_bytes: model.weights_bytes,
            kv_bytes_per_position: model.kv_bytes_per_position,
            kv_positions: KV_POSITIONS as u32,
        }
    }
}

impl From<&CudaModel> for Sizes {
    fn from(model: &CudaModel) -> Sizes {
        Sizes {
            vocab_rows: model.vocab_rows,
            layers: model.layers,
            max_context: model.max_context,
            kv_heads: model.kv_heads,
            kv_head_dim: model.kv_head_dim,
            weights_bytes: model.weights_bytes,
            kv_bytes_per_position: model.kv_bytes_per_position,
            kv_positions: model.kv_positions,
        }
    }
}
