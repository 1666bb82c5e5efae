//! Runtime LoRA adapters: open adapters that are chosen from while the model runs.
//!
//! In: a config, names and PEFT folders. Out: the values of the matrices that `runtime_lora.rs` lists. Invariant: every adapter has
//! the same number of ranks; those that it lacks are zeros.

use std::borrow::Cow;

use qwenc_formats::{DType, Tensor, WeightError};
use qwenc_ir::WeightDecl;

use super::{Adapter, AdapterProblem, AdapterSource, Delta, MergeReport};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::runtime_lora::{RuntimeLora, MATRICES, TARGETS};
use crate::tensor_order::matrix_shapes;

/// Most adapters of a model: what a token reads grows with them.
const MOST: usize = 64;

/// Adapters by name, in the order in which they are numbered, and the shapes of their matrices.
pub(crate) struct RuntimeAdapters {
    adapters: Vec<(String, Adapter)>,
    pub shapes: RuntimeLora,
}

impl RuntimeAdapters {
    pub fn open(config: &Config, named: &[(String, AdapterSource)]) -> Result<RuntimeAdapters> {
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
        let is_changed = |at: usize| {
            let (before, after) = TARGETS[at].split_once('*').unwrap_or((TARGETS[at], ""));
            deltas().any(|(name, _)| name.starts_with(before) && name.ends_with(after))
        };
        let shapes = RuntimeLora::new(rank, adapters.len(), is_changed);
        Ok(RuntimeAdapters { adapters, shapes })
    }

    /// In order: the first is number 1 while the model runs.
    pub fn names(&self) -> Vec<&str> {
        self.adapters.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub fn reports(&self) -> Vec<MergeReport> {
        self.adapters.iter().map(|(_, adapter)| adapter.report()).collect()
    }

    /// The values of a matrix of `tensors`; none if it is of the model itself.
    pub fn tensor(
        &self,
        decl: &WeightDecl,
        layer: u32,
    ) -> Option<std::result::Result<Tensor<'static>, WeightError>> {
        let at = MATRICES.iter().position(|kept| kept.contains(&decl.name.as_str()))?;
        let up = MATRICES[at][1] == decl.name;
        let matrix = TARGETS[at].replace('*', &layer.to_string());
        let (rows, cols) = (decl.shape[0] as usize, decl.shape[1] as usize);
        let mut values = vec![0f32; rows * cols];
        for (number, (_, adapter)) in self.adapters.iter().enumerate() {
            if let Some((delta, _)) = adapter.deltas.get(&matrix) {
                let first = number * self.shapes.rank;
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
