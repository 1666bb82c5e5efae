//! A config to the list of its tensors. In: a config. Out: every tensor's name and shape. Invariant: this is the
//! order of model.bin: layer by layer, then the rest.

use std::collections::HashMap;

use crate::config::Config;
use crate::families::{qwen2, qwen3};
use crate::family::Family;
use crate::tensor_names::{ATTN_NORM, DOWN, EMBEDDING, FFN_NORM, FINAL_NORM, GATE, K, LM_HEAD, O, Q, UP, V};
use crate::tensor_spec::{Own, TensorSpec};

/// Every tensor of a model, in the order of model.bin; per-layer ones first, each layer's together.
pub(crate) fn tensors(config: &Config) -> Vec<TensorSpec> {
    let d = config.dims;
    let (q, kv) = (d.q_width(), d.kv_width());
    let mut table = vec![
        (Q, vec![q, d.hidden]),
        (K, vec![kv, d.hidden]),
        (V, vec![kv, d.hidden]),
        (O, vec![d.hidden, q]),
        (GATE, vec![d.intermediate, d.hidden]),
        (UP, vec![d.intermediate, d.hidden]),
        (DOWN, vec![d.hidden, d.intermediate]),
        (ATTN_NORM, vec![d.hidden]),
        (FFN_NORM, vec![d.hidden]),
    ];
    table.extend(match config.family {
        Family::Qwen3 => qwen3::own_tensors(config),
        Family::Qwen2 => qwen2::own_tensors(config),
        Family::Llama => Own::new(),
    });
    table.push((EMBEDDING, vec![d.vocab_rows, d.hidden]));
    table.push((FINAL_NORM, vec![d.hidden]));
    if !config.tied {
        table.push((LM_HEAD, vec![d.vocab_rows, d.hidden]));
    }
    table.into_iter().map(|(name, shape)| TensorSpec { name, shape }).collect()
}

/// Each tensor that the config implies, with its layer's name filled in, in the order of model.bin:
/// layer by layer, then the rest.
pub(crate) fn tensors_in_order(config: &Config) -> Vec<(String, TensorSpec)> {
    let table = tensors(config);
    let (block, rest): (Vec<_>, Vec<_>) = table.into_iter().partition(TensorSpec::per_layer);
    let layers =
        (0..config.dims.layers).flat_map(|i| block.iter().map(move |s| (s.tensor_name(i), s.clone())));
    layers.chain(rest.iter().map(|s| (s.name.to_string(), s.clone()))).collect()
}

/// `[out, in]` of every matrix, by its name.
pub(crate) fn matrix_shapes(config: &Config) -> HashMap<String, [usize; 2]> {
    let matrices = tensors_in_order(config).into_iter().filter(|(_, spec)| spec.is_matrix());
    matrices.map(|(name, spec)| (name, [spec.shape[0] as usize, spec.shape[1] as usize])).collect()
}
