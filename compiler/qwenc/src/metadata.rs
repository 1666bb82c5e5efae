//! The JSON about the model that goes into the weights image.

use std::collections::BTreeMap;

use qwenc_ir::WeightId;
use qwenc_models::ModelFile;
use qwenc_plan::{Kernel, Plan, Segment};
use serde_json::{json, Value};

use crate::args::KvName;
use crate::predict::Prediction;

/// Metadata of the image; see docs/model-bin.md.
pub fn of(
    model: &ModelFile,
    plan: &Plan,
    cpu: &str,
    features: &[&str],
    kv: Option<KvName>,
    predicted: &Prediction,
    activations: Value,
) -> Value {
    let (config, d) = (model.config(), plan.dims);
    json!({
        "model": {
            "name": model.name().unwrap_or(&plan.name),
            "architecture": config.model_type,
            "layers": d.layers,
            "hidden": d.hidden,
            "intermediate": d.intermediate,
            "heads": d.heads,
            "kv_heads": d.kv_heads,
            "head_dim": d.head_dim,
            "vocab_rows": d.vocab_rows,
            "context": d.context,
            "weight_type": model.weight_types().name(),
            "group_size": model.weight_types().group(),
            "inputs": inputs(plan),
            "parameters": parameters(plan),
            "tied": config.tied,
            "rms_eps": as_written(config.eps.get()),
            "rope_theta": as_written(config.rope.theta),
        },
        "chat_template": model.chat_template(),
        "named_chat_templates": model.named_templates(),
        "bos_token": model.bos_token(),
        "eos_token": model.eos_token(),
        "sampling": model.sampling().json(),
        "stop_tokens": model.stop_tokens(),
        "adapters": model.adapters(),
        "kv_type": kv.map(KvName::name),
        "default_kv_type": default_kv_type(plan),
        "predicted": predicted.json(),
        "activations": activations,
        "target": { "cpu": cpu, "features": features.join(",") },
        "source": {
            "model_bin_payload_sha256": hex(&model.payload_hash()),
            "files": model.sources(),
            "exporter": model.exporter(),
            "compiler": concat!("qwenc ", env!("CARGO_PKG_VERSION")),
        },
    })
}

/// Where a CPU's step leaves activations that have names.
#[cfg(feature = "llvm")]
pub fn activations(plan: &Plan) -> Value {
    let layers = |kernel| -> Option<Vec<u32>> {
        let group = plan.group_of(kernel)?;
        Some(plan.groups[group as usize].layers.iter().collect())
    };
    let one = |n: qwenc_plan::Named| {
        let buffer = plan.buffer(n.buffer);
        json!({
            "name": n.name,
            "kernel": n.kernel,
            "layers": layers(n.kernel),
            "offset": buffer.offset,
            "row_bytes": buffer.row_bytes,
            "first": n.first,
            "columns": n.columns,
        })
    };
    plan.named().into_iter().map(one).collect()
}

/// The forms in which a layer's inputs meet its weights, in the order of their first use.
fn inputs(plan: &Plan) -> String {
    let mut names: Vec<String> = Vec::new();
    for kernel in plan.groups.iter().flat_map(|group| &group.block) {
        if let Kernel::Linear(l) = kernel {
            let name = l.inputs.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.join("+")
}

/// Element type of the KV cache where no flag says: rounded where most weights are rounded more, so that exact weights keep
/// their exact answers.
fn default_kv_type(plan: &Plan) -> &'static str {
    let bytes = |s: &Segment| s.bytes() * plan.copies(s.home);
    let rounded = |s: &&Segment| s.format.exact_inputs().planes() > 0;
    let of_layers = || plan.segments.iter().filter(|s| s.home.per_layer());
    let (some, all) =
        (of_layers().filter(rounded).map(bytes).sum::<u64>(), of_layers().map(bytes).sum::<u64>());
    if 2 * some > all {
        "bf16"
    } else {
        "f32"
    }
}

/// The shortest decimal number that is this float: `1e-6`, not the digits of its nearest double.
fn as_written(value: f32) -> f64 {
    // What a float prints is a number.
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Values in all stored tensors but the adapters'.
fn parameters(plan: &Plan) -> u64 {
    let mut copies: BTreeMap<WeightId, u64> = BTreeMap::new();
    for s in &plan.segments {
        copies.extend(s.parts.iter().chain(&s.gain).map(|&part| (part, plan.copies(s.home))));
    }
    let values = |(id, copies): (WeightId, u64)| {
        let decl = &plan.weights[id.0 as usize];
        let one: u64 = decl.shape.iter().map(|&n| u64::from(n)).product();
        if ModelFile::is_of_adapter(decl) {
            0
        } else {
            one * copies
        }
    };
    copies.into_iter().map(values).sum()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
