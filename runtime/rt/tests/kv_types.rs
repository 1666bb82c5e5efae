//! Which KV cache a command uses: the flag's, the image's, or the weights' own, and f32 for `logits`.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{free, metadata, tiny, Executable};
use serde_json::{json, Value};

/// The mock's logits depend on the type of its cache.
fn compiled_for(kv: &Value) -> Executable {
    let mut about = metadata();
    about["kv_type"] = kv.clone();
    Executable::new(tiny(), &free(20), b"", &about)
}

fn generated(e: &Executable, flags: &[&str]) -> String {
    let fixed = ["generate", "--tokens", "4,5,6", "--max-tokens", "30", "--ignore-eos"];
    e.run(&[&fixed[..], flags].concat()).ok()
}

fn logits(e: &Executable, flags: &[&str]) -> Vec<u8> {
    let out = e.folder.path().join("l.safetensors");
    let fixed = ["logits", "--tokens", "4,5,6", "--out", out.to_str().unwrap()];
    e.run(&[&fixed[..], flags].concat()).ok();
    std::fs::read(&out).unwrap()
}

#[test]
fn the_flag_decides_then_the_image() {
    let flagged =
        ["f32", "bf16", "int8"].map(|ty| generated(&compiled_for(&json!("bf16")), &["--kv-type", ty]));
    assert!(flagged[0] != flagged[1] && flagged[1] != flagged[2] && flagged[0] != flagged[2], "{flagged:?}");
    for (ty, expected) in ["f32", "bf16", "int8"].iter().zip(&flagged) {
        assert_eq!(generated(&compiled_for(&json!(ty)), &[]), *expected);
    }
    // The mock's weights are f32.
    assert_eq!(generated(&compiled_for(&json!(null)), &[]), flagged[0]);
}

#[test]
fn logits_are_for_comparison() {
    let e = compiled_for(&json!("int8"));
    assert_eq!(logits(&e, &[]), logits(&e, &["--kv-type", "f32"]));
    assert_ne!(logits(&e, &[]), logits(&e, &["--kv-type", "int8"]));
}

#[test]
fn info_shows_the_type_and_what_it_needs() {
    let e = compiled_for(&json!("bf16"));
    let memory = |flags: &[&str]| {
        let shown = e.run(&[&["info", "--json", "--context", "32"], flags].concat()).ok();
        let mut facts: Value = serde_json::from_str(&shown).unwrap();
        facts["memory_bytes"].take()
    };
    for (flags, ty, per_position) in
        [(&[][..], "bf16", 32), (&["--kv-type", "f32"], "f32", 64), (&["--kv-type", "int8"], "int8", 24)]
    {
        let m = memory(flags);
        assert_eq!((&m["kv_type"], &m["kv_at_context"]), (&json!(ty), &json!(32 * per_position)));
        assert_eq!(m["kv_per_1024_tokens"], 1024 * per_position);
    }
    assert!(e.run(&["info"]).ok().contains("bf16, 0.0 MiB per 1024 tokens"));
}

#[test]
fn a_type_that_is_unknown_is_named() {
    let said = compiled_for(&json!("f8")).run(&["generate", "--tokens", "1"]).refused(1);
    assert!(said.contains("type \"f8\"") && said.contains("pass --kv-type"), "{said}");
    compiled_for(&json!("f8")).run(&["generate", "--tokens", "1", "--kv-type", "f8"]).refused(2);
}
