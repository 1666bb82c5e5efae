//! Dense Qwen3: q and k are normalised per head, and there are no biases.
//!
//! In: config.json's fields, a config, the block's input. Out: traits, the norms' tensors, q, k and v.
//! Invariant: the norms come before RoPE.

use crate::config::Config;
use crate::decoder::{Own, Projected, K, Q, V};
use crate::error::Result;
use crate::family::Traits;
use crate::graph_builder::GraphBuilder;
use crate::json_fields::Fields;
use qwenc_ir::NodeId;

pub(crate) const Q_NORM: &str = "model.layers.*.self_attn.q_norm.weight";
pub(crate) const K_NORM: &str = "model.layers.*.self_attn.k_norm.weight";

pub(crate) fn traits(fields: &Fields) -> Result<Traits> {
    super::dense(fields)?;
    super::without(fields, "Qwen3", &["attention_bias", "mlp_bias"])?;
    Ok(Traits { theta_if_absent: None, kv_heads_if_absent: None, attention_bias: false })
}

pub(crate) fn own_tensors(config: &Config) -> Own {
    let head = config.dims.head_dim;
    vec![(Q_NORM, vec![head]), (K_NORM, vec![head])]
}

pub(crate) fn project(b: &mut GraphBuilder, config: &Config, n: NodeId) -> Projected {
    let q = b.linear("q_proj", n, Q, None)?;
    let k = b.linear("k_proj", n, K, None)?;
    let v = b.linear("v_proj", n, V, None)?;
    let q = b.head_norm("q_norm", q, Q_NORM, config.eps)?;
    let k = b.head_norm("k_norm", k, K_NORM, config.eps)?;
    Ok([q, k, v])
}
