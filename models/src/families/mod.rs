//! The families: one file for each, with what is its own. What they have in common, the dense decoder, is in
//! `decoder.rs`.
//!
//! In: config.json's fields, a config. Out: a family's [`Traits`](crate::family::Traits), its own tensors, and
//! how it makes q, k and v. Invariant: a variant of a model that its file does not build is refused there by
//! name; whoever teaches the file one takes its refusal out.

use crate::error::Result;
use crate::json_fields::{shown, Fields};

pub(crate) mod llama;
pub(crate) mod qwen2;
pub(crate) mod qwen3;

/// Refuses what no family here does: another activation, experts, weights already quantised.
fn dense(fields: &Fields) -> Result<()> {
    if let Some(act) = fields.text("hidden_act")?.filter(|&act| act != "silu") {
        return Err(fields.unsupported(format!("hidden_act {act:?}"), "silu"));
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
    Ok(())
}

/// Refuses these flags where they are true.
fn without(fields: &Fields, family: &str, flags: &[&str]) -> Result<()> {
    for flag in flags {
        if fields.flag(flag, false)? {
            return Err(fields.unsupported(format!("{flag} true for {family}"), "false"));
        }
    }
    Ok(())
}
