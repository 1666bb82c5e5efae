//! Facts of config.json: what a model is.
//!
//! In: nothing. Out: [`Config`]. Invariant: every size is within the limits of `config_reader.rs`, which alone makes one.

use qwenc_ir::{Dims, Eps, Rope};
use serde_json::{Map, Value};

use crate::family::Family;

/// A config.json, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which family builds the graph.
    pub family: Family,
    /// `model_type`, e.g. `qwen3`.
    pub model_type: String,
    /// Sizes.
    pub dims: Dims,
    /// Added to the mean square by every RMSNorm.
    pub eps: Eps,
    /// Rotary embedding.
    pub rope: Rope,
    /// Whether the LM head is the embedding.
    pub tied: bool,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Sliding window of each layer in tokens, or none; `[layers]`.
    pub windows: Vec<Option<u32>>,
    /// `eos_token_id`, ascending; generation_config.json may add more.
    pub stop_tokens: Vec<u32>,
    /// The file's fields in its own order.
    pub raw: Map<String, Value>,
}
