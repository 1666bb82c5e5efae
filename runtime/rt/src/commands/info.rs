//! `info`: what this executable is and what it will need.
//!
//! In: the model's constants and the image. Out: a table or a JSON object with the same facts.
//! Invariant: nothing is allocated or run to find out.

use std::path::Path;

use serde_json::{json, Value};

use crate::cli::Info;
use crate::commands::opened::{max_rows, placement};
use crate::console::Console;
use crate::cpu;
use crate::error::Result;
use crate::image::{hex, Image};
use crate::inference::kv;
use crate::inference::session::{capacity, check_context};
use crate::program::Program;
use crate::text::tokenizer::Tokenizer;

/// Runs the command.
pub fn run(program: &Program, weights: Option<&Path>, args: &Info, console: &mut Console) -> Result<()> {
    let image = Image::find(weights, &program.executable, program.model, program.identity)?;
    let facts = facts(program, &image, args)?;
    if args.json {
        return console.print(&format!("{facts:#}\n"));
    }
    console.print(&table(&facts))
}

fn facts(program: &Program, image: &Image, args: &Info) -> Result<Value> {
    let (info, about) = (program.model, image.metadata());
    let context = check_context(args.machine.context, info.max_context as usize)?;
    let placement = placement(&args.machine)?;
    let threads = placement.threads();
    let rows = max_rows(&args.machine, info.max_context as usize)?;
    let tokens = match image.tokenizer() {
        [] => None,
        json => Some(Tokenizer::from_bytes(json)?.size()),
    };
    let m = &about.model;
    let kv = kv::chosen(args.machine.kv(), about)?;
    let logits_bytes = 4 * u64::from(info.logits_stride) * rows as u64;
    Ok(json!({
        "model": {
            "name": m.name, "architecture": m.architecture, "parameters": m.parameters,
            "layers": m.layers, "hidden": m.hidden, "intermediate": m.intermediate,
            "heads": m.heads, "kv_heads": m.kv_heads, "head_dim": m.head_dim,
            "vocab_rows": info.vocab_rows, "context": info.max_context,
            "weight_type": m.weight_type, "group_size": m.group_size, "tied": m.tied,
        },
        "tokenizer_tokens": tokens,
        "chat_template": about.chat_template.is_some(),
        "stop_tokens": about.stop_tokens,
        "cpu": {
            "target": about.target.cpu,
            "features": cpu::wanted(info),
            "supported_here": cpu::require(info).is_ok(),
            "threads": threads,
            "pinned_to": placement.cpus(),
        },
        "memory_bytes": {
            "weights": info.weights_bytes,
            "kv_type": kv.name(),
            "kv_per_1024_tokens": info.kv_bytes(kv, 1024),
            "context": context,
            "kv_at_context": info.kv_bytes(kv, capacity(context) as u64),
            "scratch": info.arena_bytes(rows as u64, threads as u64) + logits_bytes,
        },
        "code_sha256": hex(&program.identity.code_id),
        "weights_sha256": hex(&program.identity.weights_id),
        "image": image.path().display().to_string(),
        "source": about.source,
    }))
}

fn table(facts: &Value) -> String {
    let text = |v: &Value| match v {
        Value::String(s) => s.clone(),
        Value::Null => "none".into(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let (model, cpu, memory) = (&facts["model"], &facts["cpu"], &facts["memory_bytes"]);
    let size = |v: &Value| mebibytes(v.as_u64().unwrap_or_default());
    let supported =
        if cpu["supported_here"] == json!(true) { "" } else { " (NOT all present on this machine)" };
    let group = match model["group_size"].as_u64() {
        Some(n) if n > 0 => format!(", groups of {n}"),
        _ => String::new(),
    };
    let rows = [
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
        ("compiled for", text(&cpu["target"])),
        ("instructions", format!("{}{supported}", instructions(&cpu["features"]))),
        ("threads", format!("{}{}", cpu["threads"], pinned(&cpu["pinned_to"]))),
        ("memory: weights", format!("{} (mapped from the file)", size(&memory["weights"]))),
        (
            "memory: KV cache",
            format!("{}, {} per 1024 tokens", text(&memory["kv_type"]), size(&memory["kv_per_1024_tokens"])),
        ),
        ("", format!("{} at context {}", size(&memory["kv_at_context"]), memory["context"])),
        ("memory: scratch", format!("{} at most", size(&memory["scratch"]))),
        ("code SHA-256", text(&facts["code_sha256"])),
        ("weights SHA-256", text(&facts["weights_sha256"])),
        ("image", text(&facts["image"])),
    ];
    rows.iter().map(|(name, value)| format!("{name:<18}{value}\n")).collect()
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

fn plain(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
