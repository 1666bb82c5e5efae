//! Families of models. In: config.json's fields. Out: which file builds the graph and names the
//! tensors. Invariant: an architecture that no family claims is refused by name.

use qwenc_ir::{DType, Graph};

use crate::config::Config;
use crate::error::Result;
use crate::fields::Fields;
use crate::qwen3;

/// A family whose models have the same tensors and the same block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Dense Qwen3: q/k norm, no biases.
    Qwen3,
}

/// What a family decides about fields that all have.
pub(crate) struct Traits {
    /// `tie_word_embeddings` where config.json does not say.
    pub tied_if_absent: bool,
    pub attention_bias: bool,
}

/// A tensor that a model of this family has.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    /// Name in the checkpoint; `*` stands for the layer.
    pub name: &'static str,
    /// `[out, in]`, or `[n]` for norms and biases.
    pub shape: Vec<u32>,
}

impl TensorSpec {
    pub fn per_layer(&self) -> bool {
        self.name.contains('*')
    }

    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }

    pub fn tensor_name(&self, layer: u32) -> String {
        self.name.replace('*', &layer.to_string())
    }

    /// `(rows, cols)`; a vector is one row.
    pub fn extent(&self) -> (u64, u64) {
        match self.shape.as_slice() {
            [rows, cols] => (u64::from(*rows), u64::from(*cols)),
            other => (1, other.iter().map(|&n| u64::from(n)).product()),
        }
    }
}

const ALL: [Family; 1] = [Family::Qwen3];

impl Family {
    /// The name in `architectures`.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The name in `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Qwen3 => "qwen3",
        }
    }

    pub(crate) fn of(fields: &Fields) -> Result<Family> {
        let supported = || {
            let each = ALL.map(|f| format!("{} with model_type {}", f.architecture(), f.model_type()));
            each.join(", ")
        };
        let model_type = fields.text("model_type")?;
        let architecture = match fields.list("architectures")? {
            None | Some([]) => None,
            Some([one]) => {
                Some(one.as_str().ok_or_else(|| fields.wrong("architectures", "a list of names"))?)
            }
            Some(_) => return Err(fields.wrong("architectures", "one architecture")),
        };
        let fits = |f: &Family| {
            model_type.is_none_or(|m| m == f.model_type())
                && architecture.is_none_or(|a| a == f.architecture())
        };
        match (model_type, architecture) {
            (None, None) => Err(fields.wrong("model_type", format!("a name (supported: {})", supported()))),
            (m, a) => ALL.into_iter().find(fits).ok_or_else(|| {
                let (a, m) = (a.unwrap_or("an architecture"), m.unwrap_or("none"));
                fields.unsupported(format!("{a} with model_type {m}"), supported())
            }),
        }
    }

    pub(crate) fn traits(self, fields: &Fields) -> Result<Traits> {
        match self {
            Family::Qwen3 => qwen3::traits(fields),
        }
    }

    /// Every tensor of a model, in the order of model.bin; per-layer ones first, each layer's
    /// together.
    pub(crate) fn tensors(self, config: &Config) -> Vec<TensorSpec> {
        match self {
            Family::Qwen3 => qwen3::tensors(config),
        }
    }

    /// The graph, with weights of the types that `dtype` says.
    pub(crate) fn graph(self, config: &Config, dtype: &dyn Fn(&TensorSpec) -> DType) -> Result<Graph> {
        match self {
            Family::Qwen3 => qwen3::graph(config, dtype),
        }
    }
}
