//! Runtime LoRA: shapes of the matrices by which adapters change a model while it runs.
//!
//! In: the largest rank, the number of adapters, the target modules that they change. Out: names and shapes of two matrices in f32
//! for each target: down to the ranks of all adapters, and from there up. Invariant: where one of q, k and v is changed, or of
//! gate and up, all are, some by nothing, so that they can be computed as one.

use crate::tensor_names::{DOWN, GATE, K, O, Q, UP, V};
use crate::tensor_spec::TensorSpec;

/// Target modules: matrices that an adapter may change.
pub(crate) const TARGETS: [&str; 7] = [Q, K, V, O, GATE, UP, DOWN];
/// Names of the two matrices of each target: down, then up.
pub(crate) const MATRICES: [[&str; 2]; 7] = [
    ["model.layers.*.self_attn.q_proj.lora_A", "model.layers.*.self_attn.q_proj.lora_B"],
    ["model.layers.*.self_attn.k_proj.lora_A", "model.layers.*.self_attn.k_proj.lora_B"],
    ["model.layers.*.self_attn.v_proj.lora_A", "model.layers.*.self_attn.v_proj.lora_B"],
    ["model.layers.*.self_attn.o_proj.lora_A", "model.layers.*.self_attn.o_proj.lora_B"],
    ["model.layers.*.mlp.gate_proj.lora_A", "model.layers.*.mlp.gate_proj.lora_B"],
    ["model.layers.*.mlp.up_proj.lora_A", "model.layers.*.mlp.up_proj.lora_B"],
    ["model.layers.*.mlp.down_proj.lora_A", "model.layers.*.mlp.down_proj.lora_B"],
];
/// Positions in `TARGETS` that are computed as one.
const JOINED: [&[usize]; 4] = [&[0, 1, 2], &[3], &[4, 5], &[6]];

/// Shapes of a model's runtime LoRA matrices.
pub(crate) struct RuntimeLora {
    /// Largest rank of a delta.
    pub rank: usize,
    /// Number of adapters.
    pub adapters: usize,
    /// Positions in `TARGETS`.
    changed: Vec<usize>,
}

impl RuntimeLora {
    /// Shapes for adapters of which at least one changes the targets for which `is_changed` is true.
    pub fn new(rank: usize, adapters: usize, is_changed: impl Fn(usize) -> bool) -> RuntimeLora {
        let joined = JOINED.into_iter().filter(|group| group.iter().any(|&at| is_changed(at)));
        RuntimeLora { rank, adapters, changed: joined.flatten().copied().collect() }
    }

    /// Rank and number of adapters.
    pub fn ranks(&self) -> (u32, u32) {
        (self.rank as u32, self.adapters as u32)
    }

    /// Whether a graph's weight of this name is a runtime LoRA matrix.
    pub fn has(name: &str) -> bool {
        MATRICES.iter().any(|pair| pair.contains(&name))
    }

    /// Names of the matrices down and up, if some adapter changes the matrix of this name.
    pub fn of(&self, matrix: &str) -> Option<[&'static str; 2]> {
        self.changed.iter().find(|&&at| TARGETS[at] == matrix).map(|&at| MATRICES[at])
    }

    /// All runtime LoRA matrices of a model with these tensors.
    pub fn tensors(&self, table: &[TensorSpec]) -> Vec<TensorSpec> {
        let (rank, adapters) = self.ranks();
        let of = |spec: &TensorSpec| {
            let [down, up] = self.of(spec.name)?;
            let (out, cols) = (spec.shape[0], spec.shape[1]);
            let ranks = rank * adapters;
            let down = TensorSpec { name: down, shape: vec![ranks, cols] };
            Some([down, TensorSpec { name: up, shape: vec![out, ranks] }])
        };
        table.iter().filter_map(of).flatten().collect()
    }
}
