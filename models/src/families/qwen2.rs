//! Qwen2 and Qwen2.5: q, k and v have biases, and no norms.
//!
//! In: config.json's fields, a config, the block's input. Out: traits, the biases' tensors, q, k and v.
//! Invariant: the biases are there whatever config.json says, as in the reference; the output projection has
//! none.

use crate::config::Config;
use crate::error::Result;
use crate::family::Traits;
use crate::graph_builder::{GraphBuilder, Projected};
use crate::json_fields::Fields;
use crate::tensor_names::{K, K_BIAS, Q, Q_BIAS, V, V_BIAS};
use crate::tensor_spec::Own;
use qwenc_ir::NodeId;

pub(crate) fn traits(fields: &Fields) -> Result<Traits> {
    super::dense(fields)?;
    super::without(fields, "Qwen2", &["mlp_bias"])?;
    Ok(Traits { theta_if_absent: None, kv_heads_if_absent: None, attention_bias: true })
}

pub(crate) fn own_tensors(config: &Config) -> Own {
    let (q, kv) = (config.dims.q_width(), config.dims.kv_width());
    vec![(Q_BIAS, vec![q]), (K_BIAS, vec![kv]), (V_BIAS, vec![kv])]
}

pub(crate) fn project(b: &mut GraphBuilder, n: NodeId) -> Projected {
    let q = b.linear("q_proj", n, Q, Some(Q_BIAS))?;
    let k = b.linear("k_proj", n, K, Some(K_BIAS))?;
    let v = b.linear("v_proj", n, V, Some(V_BIAS))?;
    Ok([q, k, v])
}
