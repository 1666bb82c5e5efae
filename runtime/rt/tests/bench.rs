//! `bench` with a mock model inside: what it prints, and what it refuses.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{free, metadata, tiny, Executable, CONTEXT, ROWS};
use qwenc_rt::machine::dot::{Instruction, Operands};
use serde_json::{json, Value};

const SHORT: [&str; 7] = ["bench", "--prompt", "40", "--new", "8", "--runs", "2"];

fn facts(extra: &[&str]) -> Value {
    let e = Executable::talking(&free(ROWS));
    let said = e.run(&[&SHORT[..], &["--json"], extra].concat()).ok();
    serde_json::from_str(&said).unwrap()
}

#[test]
fn json_has_every_figure() {
    let facts = facts(&["--threads", "2", "--chunk", "7"]);
    let figures = [
        "prefill_tok_s",
        "decode_tok_s",
        "first_token_ms",
        "weights_gb_s",
        "read_bandwidth_gb_s",
        "bandwidth_share",
        "dot_peak_tops",
        "f32_peak_tflops",
        "peak_memory_mb",
    ];
    for name in figures {
        let value = facts[name].as_f64().unwrap_or(f64::NAN);
        assert!(value.is_finite() && value > 0.0, "{name} is {}", facts[name]);
    }
    for (name, value) in [("runs", 2), ("prompt", 40), ("new", 8), ("threads", 2), ("context", 9)] {
        assert_eq!(facts[name], value, "{name}");
    }
    for (name, value) in [("isa", "sse2"), ("weight_type", "f32"), ("kv_type", "f32")] {
        assert_eq!(facts[name], value, "{name}");
    }
    let bf16 = facts["bf16_peak_tflops"].as_f64();
    assert_eq!(bf16.is_some_and(|peak| peak > 0.0), Instruction::best(Operands::Bf16).is_some());
    let unknown = ["batch", "batch_decode_tok_s", "batch_decode_tok_s_spread", "batch_ratio"];
    for name in unknown.iter().chain(&["predicted_prefill_tok_s", "predicted_decode_tok_s", "peak_share"]) {
        assert!(facts[name].is_null(), "{name} is {}", facts[name]);
    }
    spread_holds(&facts, "prefill_tok_s");
    spread_holds(&facts, "decode_tok_s");
}

fn spread_holds(facts: &Value, name: &str) {
    let (median, ends) = (facts[name].as_f64().unwrap(), facts[format!("{name}_spread")].as_array().unwrap());
    let [least, most] = [0, 1].map(|i| ends[i].as_f64().unwrap());
    assert!(ends.len() == 2 && 0.0 < least && least <= median && median <= most, "{name}: {facts:#}");
}

#[test]
fn a_batch_is_measured_beside_one() {
    let facts = facts(&["--batch", "5", "--context", "50"]);
    assert_eq!((&facts["batch"], &facts["context"]), (&json!(5), &json!(50)));
    spread_holds(&facts, "batch_decode_tok_s");
    assert!(facts["batch_ratio"].as_f64().unwrap() > 0.0);
    let said = Executable::talking(&free(ROWS)).run(&[&SHORT[..], &["--batch", "2"]].concat()).ok();
    assert!(said.contains("2 sequences together"), "{said}");
}

#[test]
fn what_was_predicted_stands_beside_what_was_measured() {
    let mut about = metadata();
    about["per_token"] = json!({"matrix_bytes": 60, "layer_multiply_adds": 5});
    about["predicted"] = json!({"decode_bytes": 60, "decode_tok_s": 12.5, "prefill_tok_s": 345.6,
        "decode_ops": 7, "prefill_ops_per_token": 8, "machine": "an abacus"});
    let e = Executable::new(tiny(), &free(20), b"", &about);
    let said = e.run(&[&SHORT[..], &["--json"]].concat()).ok();
    let facts: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&facts["predicted_decode_tok_s"], &facts["predicted_prefill_tok_s"]),
        (&json!(12.5), &json!(345.6))
    );
    let table = e.run(&SHORT).ok();
    for part in ["prefill 345.6 tok/s, decode 12.5 tok/s", "an abacus", "weights of blocks and head"] {
        assert!(table.contains(part), "{part} not in\n{table}");
    }
}

#[test]
fn with_a_context_decode_ends_there() {
    let facts = facts(&["--context", "60"]);
    assert_eq!((&facts["context"], &facts["new"]), (&json!(60), &json!(8)));
}

#[test]
fn the_table_is_for_people() {
    let e = Executable::talking(&free(ROWS));
    let said = e.run(&SHORT).ok();
    for part in [
        "medians",
        "tok/s",
        "GB/s",
        "all weights",
        "TOPS",
        "from position 1 to 9",
        "MB",
        "sse2",
        "16 tokens",
        "KV cache",
    ] {
        assert!(said.contains(part), "{part} not in\n{said}");
    }
}

#[test]
fn bad_flags_are_refused_by_name() {
    let e = Executable::new(tiny(), &[3; 20], b"", &json!({}));
    let most = CONTEXT.to_string();
    let bad: [(&[&str], [&str; 3]); 10] = [
        (&["--prompt", "0"], ["--prompt", "'0'", "from 1 to"]),
        (&["--new", "0"], ["--new", "'0'", "from 1 to"]),
        (&["--runs", "0"], ["--runs", "'0'", "from 1 to"]),
        (&["--batch", "1"], ["--batch", "'1'", "from 2 to 16"]),
        (&["--batch", "17"], ["--batch", "'17'", "from 2 to 16"]),
        (&["--batch", "8", "--chunk", "7"], ["8 sequences", "found 7", "raise --chunk"]),
        (&["--prompt", "301"], ["--prompt", "301", &most]),
        (&["--new", "300"], ["--new", "300", "1 to 299"]),
        (&["--new", "20", "--context", "20"], ["--new", "20", "1 to 19"]),
        (&["--context", "301"], ["--context", "301", &most]),
    ];
    for (flags, parts) in bad {
        let said = e.run(&[&["bench"], flags].concat()).refused(2);
        assert!(parts.iter().all(|part| said.contains(part)), "{flags:?}: {said}");
    }
}
