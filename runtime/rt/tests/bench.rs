//! `bench` with a mock model inside: what it prints, and what it refuses.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{free, tiny, Executable, CONTEXT, ROWS};
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
        "prefill_tok_s_min",
        "prefill_tok_s_max",
        "decode_tok_s",
        "decode_tok_s_min",
        "decode_tok_s_max",
        "first_token_ms",
        "weights_gb_s",
        "read_bandwidth_gb_s",
        "bandwidth_share",
        "dot_peak_tops",
        "peak_memory_mb",
    ];
    for name in figures {
        let value = facts[name].as_f64().unwrap_or(f64::NAN);
        assert!(value.is_finite() && value > 0.0, "{name} is {}", facts[name]);
    }
    for (name, value) in [("runs", 2), ("prompt", 40), ("new", 8), ("threads", 2), ("context", 9)] {
        assert_eq!(facts[name], value, "{name}");
    }
    assert_eq!((&facts["isa"], &facts["weight_type"]), (&json!("sse2"), &json!("f32")));
    assert_eq!(facts.as_object().unwrap().len(), figures.len() + 7);
    for name in ["prefill_tok_s", "decode_tok_s"] {
        let of = |end: &str| facts[format!("{name}{end}")].as_f64().unwrap();
        assert!(of("_min") <= of("") && of("") <= of("_max"), "{facts:#}");
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
    for part in
        ["medians", "tok/s", "GB/s", "all weights", "TOPS", "from position 1 to 9", "MB", "sse2", "16 tokens"]
    {
        assert!(said.contains(part), "{part} not in\n{said}");
    }
}

#[test]
fn bad_flags_are_refused_by_name() {
    let e = Executable::new(tiny(), &[3; 20], b"", &json!({}));
    let most = CONTEXT.to_string();
    let bad: [(&[&str], [&str; 3]); 7] = [
        (&["--prompt", "0"], ["--prompt", "0", "1.."]),
        (&["--new", "0"], ["--new", "0", "1.."]),
        (&["--runs", "0"], ["--runs", "0", "1..="]),
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
