//! Llama 2 and 3: neither norms nor biases in the attention.
//!
//! In: config.json's fields, a config, the block's input. Out: traits, q, k and v. Invariant: checkpoints hold
//! q and k for RoPE on halves, as transformers has them; formats that rotate neighbours are brought into that
//! order where they are read.

use crate::error::Result;
use crate::family::Traits;
use crate::graph_builder::{GraphBuilder, Projected};
use crate::json_fields::Fields;
use crate::tensor_names::{K, Q, V};
use qwenc_ir::NodeId;

pub(crate) fn traits(fields: &Fields) -> Result<Traits> {
    super::dense(fields)?;
    super::without(fields, "Llama", &["attention_bias", "mlp_bias", "use_sliding_window"])?;
    // The first config.json of Llama 2 said neither; these are what transformers takes then.
    let heads = Some("num_attention_heads");
    Ok(Traits { theta_if_absent: Some(10_000.0), kv_heads_if_absent: heads, attention_bias: false })
}

pub(crate) fn project(b: &mut GraphBuilder, n: NodeId) -> Projected {
    let q = b.linear("q_proj", n, Q, None)?;
    let k = b.linear("k_proj", n, K, None)?;
    let v = b.linear("v_proj", n, V, None)?;
    Ok([q, k, v])
}
