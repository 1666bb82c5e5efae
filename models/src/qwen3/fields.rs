//! Which fields of a Qwen3 config.json are refused, and what absent ones mean.
//!
//! In: config.json's fields. Out: [`Traits`], or the field that cannot be run right. Invariant: a
//! variant of the model that `graph.rs` does not build (biases, experts, quantised weights) is refused
//! here by name; whoever teaches `graph.rs` one takes its refusal out.

use crate::error::Result;
use crate::family::Traits;
use crate::json_fields::{shown, Fields};

pub(crate) fn traits(fields: &Fields) -> Result<Traits> {
    if let Some(act) = fields.text("hidden_act")?.filter(|&act| act != "silu") {
        return Err(fields.unsupported(format!("hidden_act {act:?}"), "silu"));
    }
    for bias in ["attention_bias", "mlp_bias"] {
        if fields.flag(bias, false)? {
            return Err(fields.unsupported(format!("{bias} true for Qwen3"), "false"));
        }
    }
    for experts in ["num_experts", "num_local_experts", "n_routed_experts"] {
        if let Some(n) = fields.get(experts).filter(|n| n.as_u64() != Some(0)) {
            let what = format!("a mixture of experts ({experts} {})", shown(n));
            return Err(fields.unsupported(what, "dense models"));
        }
    }
    if let Some(method) = fields.object("quantization_config")? {
        let name = method.get("quant_method").map_or("unnamed".to_string(), shown);
        return Err(fields.unsupported(format!("quantization_config {name}"), "f32, f16, bf16 checkpoints"));
    }
    Ok(Traits { tied_if_absent: false, attention_bias: false })
}
