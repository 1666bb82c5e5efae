//! Numbers of a header, and the config.json that they make. In: bytes, named numbers. Out: integers, JSON fields.
//! Invariant: bytes that are not there are `None`, never zeros.

use serde_json::{json, Map, Value};

pub(super) fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    let bytes = file.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Sizes as a header states them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub dim: u32,
    pub hidden: u32,
    pub layers: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub vocab: u32,
    pub context: u32,
    pub head_dim: u32,
    pub tied: bool,
}

/// The numbers that a format implies.
pub(super) struct Implied {
    pub architecture: &'static str,
    pub model_type: &'static str,
    pub theta: f64,
    pub eps: f64,
    pub stop_tokens: Vec<u32>,
}

/// The fields of a config.json, for [`Config::parse`](crate::Config::parse) to check.
pub(super) fn config(sizes: Sizes, implied: Implied) -> Map<String, Value> {
    let fields = json!({
        "architectures": [implied.architecture],
        "model_type": implied.model_type,
        "hidden_size": sizes.dim,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "vocab_size": sizes.vocab,
        "max_position_embeddings": sizes.context,
        "rope_theta": implied.theta,
        "rms_norm_eps": implied.eps,
        "tie_word_embeddings": sizes.tied,
        "eos_token_id": implied.stop_tokens,
    });
    match fields {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
