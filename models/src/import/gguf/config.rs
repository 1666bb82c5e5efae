//! The config.json of a GGUF file.
//!
//! In: values, the list of tensors, stop tokens. Out: fields that [`Config::parse`](crate::Config::parse) checks.
//! Invariant: what would change the result and is not read here is refused by name; Llama 3's scaling, of which
//! the file has only the factors, is taken only if it gives these factors again.

use std::collections::HashMap;

use qwenc_ir::{Rope, Scaling};
use serde_json::{json, Map, Value};

use super::super::Foreign;
use super::tensors::{Info, ROPE_FACTORS};
use super::values::{Stored, Values};
use crate::error::Result;

const FAMILIES: [(&str, &str); 3] =
    [("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM")];

/// Keys of an architecture that change what a model computes, where they are neither 0 nor false.
const REFUSED: [&str; 8] = [
    "expert_count",
    "expert_used_count",
    "attention.sliding_window",
    "attention.clamp_kqv",
    "attention.scale",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
];

/// Parts of `rope.scaling` that change YaRN in ways for which config.json has no words, and the values that do not.
const ONLY: [(&str, &[f64]); 4] = [
    ("attn_factor", &[1.0]),
    ("yarn_attn_factor", &[1.0]),
    ("yarn_ext_factor", &[1.0, -1.0]),
    ("yarn_log_multiplier", &[0.0]),
];

/// The fields of a config.json.
pub(super) fn config(
    source: &Foreign,
    values: &Values,
    infos: &HashMap<&str, Info>,
    stop_tokens: Vec<u32>,
) -> Result<Map<String, Value>> {
    let own = values.text("general.architecture")?;
    let own = own.ok_or_else(|| values.missing("general.architecture", "a name"))?;
    let Some((_, architecture)) = FAMILIES.iter().find(|(name, _)| *name == own) else {
        let supported = FAMILIES.map(|(name, _)| name).join(", ");
        return Err(source.unsupported(format!("architecture {own:?} of GGUF"), supported));
    };
    let key = |part: &str| format!("{own}.{part}");
    for part in REFUSED {
        match values.get(&key(part)) {
            None | Some(Stored::Integer(0)) | Some(Stored::Float(0.0)) => {}
            Some(_) => return Err(source.unsupported(key(part), "models without it")),
        }
    }
    if !values.flag(&key("attention.causal"), true)? {
        return Err(source.unsupported(format!("{} false", key("attention.causal")), "true"));
    }
    let size = |part: &str| {
        let found = values.u32(&key(part))?;
        found.ok_or_else(|| values.missing(&key(part), "an integer"))
    };
    let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let kv_heads = values.u32(&key("attention.head_count_kv"))?.unwrap_or(heads);
    let head_dim = head_dim(source, values, own, hidden.checked_div(heads).unwrap_or(0))?;
    let embedding = infos.get("token_embd.weight").filter(|i| i.shape.len() == 2);
    let embedding = embedding.ok_or_else(|| values.missing("tensor token_embd.weight", "a matrix"))?;
    let theta = values.float(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    let eps = values.float(&key("attention.layer_norm_rms_epsilon"))?;
    let fields = json!({
        "architectures": [architecture],
        "model_type": own,
        "hidden_size": hidden,
        "intermediate_size": size("feed_forward_length")?,
        "num_hidden_layers": size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": embedding.shape[0],
        "max_position_embeddings": size("context_length")?,
        "rope_theta": theta,
        "rope_scaling": scaling(source, values, infos, (own, theta, head_dim))?,
        "rms_norm_eps": eps,
        "tie_word_embeddings": !infos.contains_key("output.weight"),
        "eos_token_id": stop_tokens,
    });
    match fields {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// The width of a head: all that are stated must agree.
fn head_dim(source: &Foreign, values: &Values, own: &str, usual: u32) -> Result<u32> {
    let key = values.u32(&format!("{own}.attention.key_length"))?.unwrap_or(usual);
    for other in ["attention.value_length", "rope.dimension_count"] {
        let other = format!("{own}.{other}");
        if let Some(found) = values.u32(&other)?.filter(|&n| n != key) {
            return Err(source.wrong(&other, format!("{key}, the width of a head"), found));
        }
    }
    Ok(key)
}

/// The `rope_scaling` of a config.json.
fn scaling(
    source: &Foreign,
    values: &Values,
    infos: &HashMap<&str, Info>,
    (own, theta, head_dim): (&str, f64, u32),
) -> Result<Value> {
    let key = |part: &str| format!("{own}.rope.scaling.{part}");
    // Files from before there was a type have the factor of `linear` alone, the oldest under another key.
    let factor = match values.float(&key("factor"))? {
        None => values.float(&format!("{own}.rope.scale_linear"))?,
        stated => stated,
    };
    let untyped = if factor.is_some_and(|f| f != 0.0 && f != 1.0) { "linear" } else { "none" };
    let kind = values.text(&key("type"))?.unwrap_or(untyped);
    let llama3 = infos.get(ROPE_FACTORS);
    if llama3.is_some() && kind != "none" {
        return Err(
            source.unsupported(format!("RoPE scaling {kind:?} beside {ROPE_FACTORS}"), "one of the two")
        );
    }
    if let Some(info) = llama3 {
        return llama3_scaling(source, info, theta as f32, head_dim);
    }
    for (part, harmless) in ONLY {
        let key = key(part);
        if let Some(found) = values.float(&key)?.filter(|v| !harmless.contains(v)) {
            return Err(source.unsupported(format!("{key} {found}"), format!("{harmless:?}")));
        }
    }
    match kind {
        "none" => Ok(Value::Null),
        "linear" => Ok(json!({"rope_type": "linear", "factor": factor})),
        "yarn" => Ok(json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": values.u32(&key("original_context_length"))?,
            "beta_fast": values.float(&key("yarn_beta_fast"))?,
            "beta_slow": values.float(&key("yarn_beta_slow"))?,
        })),
        other => Err(source.unsupported(format!("{} {other:?}", key("type")), "none, linear, yarn")),
    }
}

/// The rule whose frequencies are those of the base divided by the stored factors.
fn llama3_scaling(source: &Foreign, info: &Info, theta: f32, head_dim: u32) -> Result<Value> {
    let bytes = &source.map[info.range.clone()];
    let stored: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let right = info.shape == [u64::from(head_dim) / 2] && bytes.len() == 4 * stored.len();
    if !right || stored.len() as u64 != info.shape[0] {
        let expected = format!("f32[{}]", head_dim / 2);
        return Err(source.wrong(&format!("tensor {ROPE_FACTORS}"), expected, format!("{:?}", info.shape)));
    }
    let factor = stored.iter().copied().fold(0f32, f32::max);
    let plain = Rope::new(theta).inv_freq(head_dim);
    let (low, high) = (1.0, 4.0);
    let fits = |&original_context: &u32| {
        let scaling = Scaling::Llama3 { factor, low, high, original_context };
        let scaled = Rope { theta, scaling }.inv_freq(head_dim);
        let near = |((s, p), f): ((&f32, &f32), &f32)| (p / s - f).abs() <= 1e-3 * f.abs();
        scaled.iter().zip(&plain).zip(&stored).all(near)
    };
    // 8192 in all that have been published.
    let contexts = [8192].into_iter().chain((5..=20).map(|bits| 1 << bits));
    match contexts.into_iter().find(fits).filter(|_| factor.is_finite() && factor >= 1.0) {
        Some(original) => Ok(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original,
        })),
        None => Err(source.unsupported(
            format!("tensor {ROPE_FACTORS} with these factors"),
            "Llama 3's, with frequency factors 1 and 4 and an original context that is a power of 2",
        )),
    }
}
