//! `info` of an executable for GPUs.
//!
//! In: its kernels, and what the driver says where there is one. Out: facts, and lines of the table. Invariant:
//! without a driver every fact but the devices is there.

use qwenc_abi::KvType;
use serde_json::{json, Value};

use super::{plain, size, text, Rows};
use crate::cli::Machine;
use crate::commands::opened::{room, Use};
use qwenc_engine::error::Result;
use qwenc_engine::inference::cuda::bundle::Bundle;
use qwenc_engine::inference::cuda::driver::{self, Device};
use qwenc_engine::inference::cuda::memory_requirement::MemoryRequirement;
use qwenc_engine::inference::cuda::modules;
use qwenc_engine::program::Sizes;

/// Adds what is so on GPUs only: `cuda`, and what `generate` and `chat` take of a device's memory.
pub(super) fn add(facts: &mut Value, bundle: &Bundle, machine: &Machine, kv: KvType) -> Result<()> {
    let wanted = Use { outputs: 1, sequences: 1, kv };
    let need = MemoryRequirement::of(&bundle.model, &room(&Sizes::from(&bundle.model), machine, wanted)?);
    let memory = &mut facts["memory_bytes"];
    memory["scratch"] = json!(need.arena.saturating_add(need.logits).saturating_add(need.small));
    memory["gpu"] = json!(need.total());
    let (devices, problem) = match driver::devices() {
        Ok(devices) => (devices.iter().map(|d| device(bundle, d)).collect(), None),
        // An error for commands that run the model; here it is a fact like the others.
        Err(e) => (Vec::new(), Some(e.to_string())),
    };
    let module = |m: &qwenc_abi::CudaModule| json!({"sm": m.sm, "ptx": m.ptx, "bytes": m.bytes});
    facts["cuda"] = json!({
        "code": bundle.model.modules.iter().map(module).collect::<Vec<_>>(),
        "code_for": bundle.architectures(),
        "devices": Value::Array(devices),
        "problem": problem,
    });
    Ok(())
}

fn device(bundle: &Bundle, device: &Device) -> Value {
    json!({
        "number": device.number,
        "name": device.name,
        "sm": device.sm,
        "memory_bytes": device.memory,
        "supported": modules::require(bundle, device).is_ok(),
    })
}

/// Lines of the table.
pub(super) fn rows(facts: &Value) -> Rows {
    let cuda = &facts["cuda"];
    let mut rows = vec![("compiled for", text(&cuda["code_for"]))];
    for device in cuda["devices"].as_array().into_iter().flatten() {
        let fits = if device["supported"] == json!(true) { "" } else { " (NO code for it here)" };
        let (name, memory) = (plain(&device["name"]), size(&device["memory_bytes"]));
        rows.push(("device", format!("{}: {name}, sm_{}, {memory}{fits}", device["number"], device["sm"])));
    }
    if !cuda["problem"].is_null() {
        rows.push(("device", plain(&cuda["problem"])));
    }
    rows.push((
        "memory: weights",
        format!("{} (copied to the GPU)", size(&facts["memory_bytes"]["weights"])),
    ));
    rows
}
