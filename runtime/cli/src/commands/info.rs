//! `info`: what this executable is and what it will need.
//!
//! In: the model's constants and the image. Out: a table or a JSON object with the same facts.
//! Invariant: nothing is allocated or run to find out; a GPU's executable says it without a driver too.

mod gpu;
mod sampling;

use std::path::Path;

use qwenc_abi::ModelInfo;
use serde_json::{json, Value};

use crate::cli::{Info, Machine};
use crate::commands::opened::{max_rows, placement};
use crate::commands::sampling::defaults;
use crate::console::Console;
use qwenc_engine::cpu;
use qwenc_engine::error::Result;
use qwenc_engine::image::{hex, Image};
use qwenc_engine::inference::cuda::mebibytes::mebibytes;
use qwenc_engine::inference::kv;
use qwenc_engine::inference::session::check_context;
use qwenc_engine::machine::form;
use qwenc_engine::program::{Code, Program};
use qwenc_text::tokenizer::Tokenizer;

/// Lines of a table.
type Rows = Vec<(&'static str, String)>;

/// Runs the command; `has_server` says whether the executable has the command `serve`.
pub fn run(
    program: &Program,
    has_server: bool,
    weights: Option<&Path>,
    args: &Info,
    console: &mut Console,
) -> Result<()> {
    let bytes = program.code.sizes().weights_bytes;
    let image = Image::find(weights, &program.executable, bytes, program.identity)?;
    let mut facts = facts(program, &image, args)?;
    facts["server"] = json!(has_server);
    if args.json {
        return console.print(&format!("{facts:#}\n"));
    }
    console.print(&table(&facts))
}

fn facts(program: &Program, image: &Image, args: &Info) -> Result<Value> {
    let (sizes, about) = (program.code.sizes(), image.metadata());
    let context = check_context(args.machine.context, sizes.max_context as usize)?;
    let tokenizer = Some(image.tokenizer()).filter(|bytes| !bytes.is_empty());
    let tokens = tokenizer.as_ref().map(Tokenizer::open).transpose()?.map(|t| t.size());
    let m = &about.model;
    let kv = kv::chosen(args.machine.kv(), about)?;
    let mut facts = json!({
        "model": {
            "name": m.name, "architecture": m.architecture, "parameters": m.parameters,
            "layers": m.layers, "hidden": m.hidden, "intermediate": m.intermediate,
            "heads": m.heads, "kv_heads": m.kv_heads, "head_dim": m.head_dim,
            "vocab_rows": sizes.vocab_rows, "context": sizes.max_context,
            "weight_type": m.weight_type, "group_size": m.group_size, "inputs": m.inputs, "tied": m.tied,
        },
        "tokenizer_tokens": tokens,
        "chat_template": about.chat_template.is_some() || !about.named_chat_templates.is_empty(),
        "stop_tokens": about.stop_tokens,
        "sampling": sampling::facts(&defaults(about.sampling.clone(), &args.sampling)),
        "cpu": null,
        "memory_bytes": {
            "weights": sizes.weights_bytes,
            "kv_type": kv.name(),
            "kv_per_1024_tokens": sizes.kv_bytes(kv, 1024),
            "context": context,
            "kv_at_context": sizes.kv_bytes(kv, sizes.capacity(context) as u64),
        },
        "adapters": about.adapters,
        "linked": form::name(),
        "code_sha256": hex(&program.identity.code_id),
        "weights_sha256": hex(&program.identity.weights_id),
        "image": image.path().display().to_string(),
        "source": about.source,
    });
    match program.code {
        Code::Cpu(model) => {
            facts["cpu"] = of_cpu(model, &about.target.cpu, &args.machine)?;
            facts["memory_bytes"]["scratch"] = json!(cpu_scratch(model, &args.machine)?);
        }
        Code::Cuda(bundle) => gpu::add(&mut facts, bundle, &args.machine, kv)?,
    }
    Ok(facts)
}

fn of_cpu(model: &ModelInfo, target: &str, machine: &Machine) -> Result<Value> {
    let placement = placement(machine)?;
    Ok(json!({
        "target": target,
        "features": cpu::wanted(model),
        "supported_here": cpu::require(model).is_ok(),
        "threads": placement.threads(),
        "pinned_to": placement.cpus(),
    }))
}

fn cpu_scratch(model: &ModelInfo, machine: &Machine) -> Result<u64> {
    let rows = max_rows(machine, model.max_context as usize)? as u64;
    let threads = placement(machine)?.threads() as u64;
    Ok(model.arena_bytes(rows, threads) + 4 * u64::from(model.logits_stride) * rows)
}

fn table(facts: &Value) -> String {
    let (model, memory) = (&facts["model"], &facts["memory_bytes"]);
    let group = match model["group_size"].as_u64() {
        Some(n) if n > 0 => format!(", groups of {n}"),
        _ => String::new(),
    };
    let mut rows = vec![
        ("model", format!("{} ({})", text(&model["name"]), text(&model["architecture"]))),
        ("parameters", text(&model["parameters"])),
        ("weights", format!("{}{group}, {}", text(&model["weight_type"]), size(&memory["weights"]))),
        ("layers", text(&model["layers"])),
        ("hidden", format!("{}, intermediate {}", model["hidden"], model["intermediate"])),
        (
            "heads",
            format!("{} of {}, {} for keys and values", model["heads"], model["head_dim"], model["kv_heads"]),
        ),
        (
            "vocabulary",
            format!("{} rows, tokenizer {}", model["vocab_rows"], text(&facts["tokenizer_tokens"])),
        ),
        ("context", format!("{} tokens", model["context"])),
        ("stop tokens", text(&facts["stop_tokens"])),
        ("chat template", if facts["chat_template"] == json!(true) { "yes" } else { "no" }.into()),
    ];
    rows.extend(sampling::rows(&facts["sampling"]));
    let adapters: Vec<&str> =
        facts["adapters"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !adapters.is_empty() {
        rows.push(("adapters", adapters.join(", ")));
    }
    let on_gpu = facts["cpu"].is_null();
    rows.extend(if on_gpu { gpu::rows(facts) } else { cpu_rows(facts) });
    rows.extend([
        (
            "memory: KV cache",
            format!("{}, {} per 1024 tokens", text(&memory["kv_type"]), size(&memory["kv_per_1024_tokens"])),
        ),
        ("", format!("{} at context {}", size(&memory["kv_at_context"]), memory["context"])),
        ("memory: scratch", format!("{} at most", size(&memory["scratch"]))),
    ]);
    if on_gpu {
        rows.push(("memory: GPU", format!("{} for all of these", size(&memory["gpu"]))));
    }
    rows.extend([
        ("linked", linked(&facts["linked"]).to_owned()),
        (
            "server",
            if facts["server"] == json!(true) { "yes" } else { "no: compiled with --no-serve" }.into(),
        ),
        ("code SHA-256", text(&facts["code_sha256"])),
        ("weights SHA-256", text(&facts["weights_sha256"])),
        ("image", text(&facts["image"])),
    ]);
    rows.iter().map(|(name, value)| format!("{name:<18}{value}\n")).collect()
}

fn linked(form: &Value) -> &'static str {
    match form.as_str() {
        Some("static") => "statically: needs no other file",
        _ => "dynamically: needs the system's C library and its loader",
    }
}

fn cpu_rows(facts: &Value) -> Rows {
    let cpu = &facts["cpu"];
    let supported =
        if cpu["supported_here"] == json!(true) { "" } else { " (NOT all present on this machine)" };
    vec![
        ("compiled for", text(&cpu["target"])),
        ("instructions", format!("{}{supported}", instructions(&cpu["features"]))),
        ("threads", format!("{}{}", cpu["threads"], pinned(&cpu["pinned_to"]))),
        ("memory: weights", format!("{} (mapped from the file)", size(&facts["memory_bytes"]["weights"]))),
    ]
}

fn instructions(features: &Value) -> String {
    let names: Vec<String> = features.as_array().into_iter().flatten().map(plain).collect();
    match names.is_empty() {
        true => "those of any x86-64".to_owned(),
        false => names.join(", "),
    }
}

fn pinned(cpus: &Value) -> String {
    let cpus: Vec<String> = cpus.as_array().into_iter().flatten().map(plain).collect();
    match cpus.is_empty() {
        true => String::new(),
        false => format!(", on CPUs {}", cpus.join(", ")),
    }
}

fn text(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Null => "none".into(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn size(bytes: &Value) -> String {
    mebibytes(bytes.as_u64().unwrap_or_default())
}

fn plain(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}
