//! The families of models there are. In: config.json's names. Out: the [`Family`] that claims them.
//!
//! Invariant: an architecture that no family claims is refused by name. A new family is a variant here,
//! a file in `families/`, and an arm in each match over [`Family`]: `config_reader.rs` asks it which fields
//! it reads, `tensor_order.rs` for its own tensors, `decoder.rs` for its part of the block.

use crate::error::Result;
use crate::json_fields::Fields;

/// A family whose models have the same tensors and the same block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Dense Qwen3: q/k norm; biases in the attention only where config.json says so.
    Qwen3,
    /// Qwen2 and Qwen2.5: biases of q, k and v, no q/k norm.
    Qwen2,
    /// Llama 2 and 3: neither.
    Llama,
}

/// Decisions of a family about fields that all have.
pub(crate) struct Traits {
    /// `rope_theta` where config.json does not say.
    pub theta_if_absent: Option<f32>,
    /// The field that stands for `num_key_value_heads` where that is absent.
    pub kv_heads_if_absent: Option<&'static str>,
    pub attention_bias: bool,
}

const ALL: [Family; 3] = [Family::Qwen3, Family::Qwen2, Family::Llama];

impl Family {
    /// The name in `architectures`.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Qwen3 => "Qwen3ForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Llama => "LlamaForCausalLM",
        }
    }

    /// The name in `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Qwen3 => "qwen3",
            Family::Qwen2 => "qwen2",
            Family::Llama => "llama",
        }
    }

    /// Family that the names of tensors show, if one has such tensors, and the sign of it in words.
    pub(crate) fn shown_by(names: &[&str]) -> (Option<Family>, String) {
        let with = |end: &str| names.iter().find(|n| n.ends_with(end));
        let experts = names.iter().find(|n| n.contains(".mlp.experts."));
        match (experts, with(".self_attn.q_norm.weight"), with(".self_attn.q_proj.bias")) {
            (Some(expert), _, _) => (None, format!("a mixture of experts, with {expert}")),
            (None, Some(norm), None) => (Some(Family::Qwen3), format!("with {norm} and no q_proj.bias")),
            (None, None, Some(bias)) => (Some(Family::Qwen2), format!("with {bias} and no q_norm")),
            (None, Some(norm), Some(_)) => (Some(Family::Qwen3), format!("with {norm}")),
            (None, None, None) => (Some(Family::Llama), "with neither q_norm nor q_proj.bias".to_string()),
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
                && architecture.is_none_or(|a| {
                    a == f.architecture() || a == f.architecture().replace("ForCausalLM", "Model")
                })
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
