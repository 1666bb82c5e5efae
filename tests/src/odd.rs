//! A checkpoint in which nothing is a multiple of anything. In: a new folder. Out: config.json and bf16 weights,
//! pseudo-random and the same every time; no tokenizer.

use std::path::PathBuf;

use safetensors::tensor::{serialize_to_file, Dtype, TensorView};
use serde_json::json;

use crate::variants;

const LAYERS: usize = 2;
const HIDDEN: usize = 70;
const INTERMEDIATE: usize = 37;
const HEADS: usize = 3;
const KV_HEADS: usize = 1;
const HEAD_DIM: usize = 22;
/// Rows of the vocabulary.
pub const ROWS: usize = 67;

/// Writes the checkpoint.
pub fn checkpoint() -> PathBuf {
    let folder = variants::folder();
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": ROWS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": false,
        "tie_word_embeddings": false,
        "eos_token_id": ROWS - 1,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let values: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors().into_iter().map(|(name, shape)| (name, shape.clone(), noise(&shape))).collect();
    let views =
        values.iter().map(|(name, shape, b)| (name, TensorView::new(Dtype::BF16, shape.clone(), b).unwrap()));
    serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    folder
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let of_layer = [
        ("input_layernorm", vec![HIDDEN]),
        ("self_attn.q_proj", vec![q, HIDDEN]),
        ("self_attn.k_proj", vec![kv, HIDDEN]),
        ("self_attn.v_proj", vec![kv, HIDDEN]),
        ("self_attn.q_norm", vec![HEAD_DIM]),
        ("self_attn.k_norm", vec![HEAD_DIM]),
        ("self_attn.o_proj", vec![HIDDEN, q]),
        ("post_attention_layernorm", vec![HIDDEN]),
        ("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]),
        ("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]),
        ("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]),
    ];
    let mut all: Vec<(String, Vec<usize>)> = (0..LAYERS)
        .flat_map(|i| {
            of_layer.clone().map(|(name, shape)| (format!("model.layers.{i}.{name}.weight"), shape))
        })
        .collect();
    all.push(("model.embed_tokens.weight".to_string(), vec![ROWS, HIDDEN]));
    all.push(("model.norm.weight".to_string(), vec![HIDDEN]));
    all.push(("lm_head.weight".to_string(), vec![ROWS, HIDDEN]));
    all
}

/// bf16 values of 0.25 to 0.5 in size, gains positive.
fn noise(shape: &[usize]) -> Vec<u8> {
    let mut state = shape.iter().fold(1u64, |s, &n| s.wrapping_mul(31).wrapping_add(n as u64));
    let value = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = (state >> 33) as u16;
        let sign = if shape.len() == 1 { 0 } else { bits & 0x8000 };
        (0x3e80 | (bits & 0x7f) | sign).to_le_bytes()
    };
    (0..shape.iter().product()).flat_map(value).collect()
}
