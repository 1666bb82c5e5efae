//! Predictions of the compiler, as a user and the executable see them.

use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::{executable_for, folder};
use serde_json::Value;

/// A named CPU is predicted alike on every machine.
#[test]
fn explain_ends_with_it() {
    let output = folder().join("plan");
    let args =
        ["compile", "sample", "--quant", "int8", "--cpu", "znver5", "--explain", "--emit", "plan", "-o"];
    let said = run(qwenc(&args).arg(&output)).ok();
    let (_, predicted) = said.split_once("\npredicted, ").unwrap();
    insta::assert_snapshot!(predicted);
}

/// The sample has 4 layers of hidden 128, intermediate 384, 4 heads of 64, half as many for keys and for values,
/// and 2048 rows of a tied vocabulary, which decode reads as the head. In bf16 that is 12 bits a weight, and for
/// each 32 rows 64 bytes and room for exceptions, 8 bytes for each of 512 weights but at least of 16.
#[test]
fn executables_carry_it() {
    let (qkv, o, gate_up, down) = (512 * 128, 128 * 256, 768 * 128, 128 * 384);
    let more = |rows: u64, room: u64| rows / 32 * (64 + 8 * room);
    let more = 4 * (more(512, 16) + more(128, 16) + more(768, 16) + more(128, 24)) + more(2048, 16);
    let weights = 4 * (qkv + o + gate_up + down) + 2048 * 128;
    // Dot products, sums and a softmax, over the one position.
    let attention = 4 * 4 * (4 * 64 + 8);
    // Two norms, norm and rotation of q, k and v, two residuals, SwiGLU.
    let beside = 4 * (2 * 4 * 128 + 10 * 512 + 2 * 128 + 9 * 384);
    let head = 2 * 2048 * 128 + 4 * 128;
    let layers = 2 * (weights - 2048 * 128) + beside;
    let file = std::fs::read(executable_for("sample", "bf16", "x86-64-v3")).unwrap();
    let key = b"\"predicted\":";
    let at = file.windows(key.len()).rposition(|w| w == key).unwrap() + key.len();
    let mut values = serde_json::Deserializer::from_slice(&file[at..]).into_iter::<Value>();
    let predicted = values.next().unwrap().unwrap();
    assert_eq!(predicted["decode_bytes"], weights * 3 / 2 + more, "{predicted}");
    assert_eq!(predicted["decode_ops"], layers + attention + head, "{predicted}");
    let prompt_attention = attention * 513 / 2;
    let prefill = layers + prompt_attention + head / 512;
    assert_eq!(predicted["prefill_ops_per_token"], prefill, "{predicted}");
    assert!(predicted["machine"].as_str().unwrap().starts_with("x86-64-v3, 8 cores (AVX2, estimated)"));
    for rate in ["decode_tok_s", "prefill_tok_s"] {
        assert!(predicted[rate].as_f64().is_some_and(|r| r > 0.0 && r.is_finite()), "{predicted}");
    }
}
