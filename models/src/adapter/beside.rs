//! Adapters kept beside the weights, to be chosen from while the model runs.
//!
//! In: a config, names and PEFT folders. Out: for each matrix that an adapter changes, two matrices in f32: down to the
//! ranks of all adapters, and from there up. Invariant: every adapter has the same number of ranks, those that it
//! lacks are zeros; where one of q, k and v is changed, or of gate and up, all are, some by nothing, so that they
//! can be computed as one.

use std::borrow::Cow;

use qwenc_formats::{DType, Tensor, WeightError};
use qwenc_ir::WeightDecl;

use super::{Adapter, AdapterProblem, AdapterSource, Delta, MergeReport, TARGETS};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor_order::matrix_shapes;
use crate::tensor_spec::TensorSpec;

/// What is kept of each of `TARGETS`: down, then up.
const KEPT: [[&str; 2]; 7] = [
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
/// Most adapters of a model: what a token reads grows with them.
const MOST: usize = 64;

/// Adapters by name, in the order in which they are numbered.
pub(crate) struct Beside {
    adapters: Vec<(String, Adapter)>,
    /// Of the largest delta.
    rank: usize,
    /// Positions in `TARGETS`.
    changed: Vec<usize>,
}

impl Beside {
    pub fn open(config: &Config, named: &[(String, AdapterSource)]) -> Result<Beside> {
        let shapes = matrix_shapes(config);
        let mut adapters: Vec<(String, Adapter)> = Vec::new();
        for (name, source) in named {
            let known = adapters.iter().any(|(other, _)| other == name);
            let problem = match (known || name.is_empty(), named.len()) {
                (true, _) => Some(AdapterProblem::Name),
                (_, count) => (count > MOST).then_some(AdapterProblem::Count { count, most: MOST }),
            };
            if let Some(problem) = problem {
                return Err(Error::Adapter { file: format!("adapter {name:?}"), problem });
            }
            adapters.push((name.clone(), Adapter::open(source, &|tensor| shapes.get(tensor).copied())?));
        }
        let deltas = || adapters.iter().flat_map(|(_, adapter)| &adapter.deltas);
        let rank = deltas().map(|(_, (delta, _))| delta.rank).max().unwrap_or(0);
        let is_changed = |&at: &usize| {
            let (before, after) = TARGETS[at].split_once('*').unwrap_or((TARGETS[at], ""));
            deltas().any(|(name, _)| name.starts_with(before) && name.ends_with(after))
        };
        let joined = JOINED.into_iter().filter(|group| group.iter().any(is_changed));
        let changed = joined.flatten().copied().collect();
        Ok(Beside { adapters, rank, changed })
    }

    /// In order: the first is number 1 while the model runs.
    pub fn names(&self) -> Vec<&str> {
        self.adapters.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub fn reports(&self) -> Vec<MergeReport> {
        self.adapters.iter().map(|(_, adapter)| adapter.report()).collect()
    }

    /// Rank and number of adapters.
    pub fn ranks(&self) -> (u32, u32) {
        (self.rank as u32, self.adapters.len() as u32)
    }

    /// Whether a graph's weight of this name is one of these.
    pub fn has(name: &str) -> bool {
        KEPT.iter().any(|kept| kept.contains(&name))
    }

    /// Names of the matrices down and up, if some adapter changes the matrix of this name.
    pub fn of(&self, matrix: &str) -> Option<[&'static str; 2]> {
        self.changed.iter().find(|&&at| TARGETS[at] == matrix).map(|&at| KEPT[at])
    }

    /// All matrices that are kept, for a model of these.
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

    /// The values of a matrix of `tensors`; none if it is of the model itself.
    pub fn tensor(
        &self,
        decl: &WeightDecl,
        layer: u32,
    ) -> Option<std::result::Result<Tensor<'static>, WeightError>> {
        let at = KEPT.iter().position(|kept| kept.contains(&decl.name.as_str()))?;
        let up = KEPT[at][1] == decl.name;
        let matrix = TARGETS[at].replace('*', &layer.to_string());
        let (rows, cols) = (decl.shape[0] as usize, decl.shape[1] as usize);
        let mut values = vec![0f32; rows * cols];
        for (number, (_, adapter)) in self.adapters.iter().enumerate() {
            if let Some((delta, _)) = adapter.deltas.get(&matrix) {
                let first = number * self.rank;
                match up {
                    true => delta.write_up(&mut values, cols, first),
                    false => values[first * cols..][..delta.a.len()].copy_from_slice(&delta.a),
                }
            }
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Some(Tensor::new(&decl.tensor_name(layer), DType::F32, (rows, cols), Cow::Owned(bytes), None))
    }
}

impl Delta {
    /// `scale · B` into the columns from `first` on.
    fn write_up(&self, values: &mut [f32], cols: usize, first: usize) {
        for (row, b) in values.chunks_mut(cols).zip(self.b.chunks(self.rank)) {
            row[first..].iter_mut().zip(b).for_each(|(v, b)| *v = self.scale * b);
        }
    }
}
