//! Dense Qwen3: q and k are normalised per head; biases only where config.json has attention_bias.
//!
//! In: config.json's fields, a config, the block's input. Out: traits, the norms' and biases' tensors, q, k and v.
//! Invariant: the norms come after the biases and before RoPE.

use crate::config::Config;
use crate::error::Result;
use crate::family::Traits;
use crate::graph_builder::{GraphBuilder, Projected};
use crate::json_fields::Fields;
use crate::tensor_names::{K, K_BIAS, O_BIAS, Q, Q_BIAS, V, V_BIAS};
use crate::tensor_spec::Own;
use qwenc_ir::NodeId;

pub(crate) const Q_NORM: &str = "model.layers.*.self_attn.q_norm.weight";
pub(crate) const K_NORM: &str = "model.layers.*.self_attn.k_norm.weight";

pub(crate) fn traits(fields: &Fields) -> Result<Traits> {
    super::dense(fields)?;
    super::without(fields, "Qwen3", &["mlp_bias"])?;
    let attention_bias = fields.flag("attention_bias", false)?;
    Ok(Traits { theta_if_absent: None, kv_heads_if_absent: None, attention_bias })
}

pub(crate) fn own_tensors(config: &Config) -> Own {
    let d = config.dims;
    let mut own = vec![(Q_NORM, vec![d.head_dim]), (K_NORM, vec![d.head_dim])];
    if config.attention_bias {
        let (q, kv) = (vec![d.q_width()], vec![d.kv_width()]);
        own.extend([(Q_BIAS, q), (K_BIAS, kv.clone()), (V_BIAS, kv), (O_BIAS, vec![d.hidden])]);
    }
    own
}

pub(crate) fn project(b: &mut GraphBuilder, config: &Config, n: NodeId) -> Projected {
    let bias = |name| config.attention_bias.then_some(name);
    let q = b.linear("q_proj", n, Q, bias(Q_BIAS))?;
    let k = b.linear("k_proj", n, K, bias(K_BIAS))?;
    let v = b.linear("v_proj", n, V, bias(V_BIAS))?;
    let q = b.head_norm("q_norm", q, Q_NORM, config.eps)?;
    let k = b.head_norm("k_norm", k, K_NORM, config.eps)?;
    Ok([q, k, v])
}

/// The bias after the attention.
pub(crate) fn output_bias(config: &Config) -> Option<&'static str> {
    config.attention_bias.then_some(O_BIAS)
}
