//! The families of models there are. In: config.json's names. Out: the [`Family`] that claims them.
//!
//! Invariant: an architecture that no family claims is refused by name. A new family is a variant here,
//! a folder like `qwen3/`, and an arm in each match over [`Family`]: `config.rs` asks it which fields it
//! reads, `model_graph.rs` for its tensors and its graph.

use crate::error::Result;
use crate::json_fields::Fields;

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
}
