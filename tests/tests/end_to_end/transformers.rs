//! Compiled golden checkpoints against transformers in float32: logits and greedy tokens.

use qwenc_tests::golden::{golden, greedy, logits, nmse};
use qwenc_tests::variants::executable;

/// Logits within the tolerance, and all greedy tokens if wanted.
fn check(case: &str, quant: &str, tolerance: f64, tokens_too: bool) {
    let golden = golden(case);
    let executable = executable(case, quant);
    let error = nmse(&logits(&executable, &golden.tokens, &[]), &golden.logits);
    println!("{case} {quant}: NMSE {error:.2e}");
    assert!(error <= tolerance, "{case} {quant}: NMSE {error:.2e} > {tolerance:.0e}");
    if tokens_too {
        assert_eq!(golden.generated.len(), 24);
        let said = greedy(&executable, &golden.tokens, &["--max-tokens", "24", "--ignore-eos"]);
        assert_eq!(said, golden.generated, "{case} {quant}");
    }
}

#[test]
fn tied_embedding_and_grouped_heads() {
    check("qwen3-tied", "f32", 1e-10, true);
    check("qwen3-tied", "bf16", 1e-10, true);
    check("qwen3-tied", "int8", 1e-3, false);
    check("qwen3-tied", "int4", 9e-2, false);
}

#[test]
fn own_lm_head_and_a_key_head_for_each_query_head() {
    check("qwen3-untied-mha", "f32", 1e-10, true);
    check("qwen3-untied-mha", "bf16", 1e-10, true);
    check("qwen3-untied-mha", "int8", 1e-3, false);
    check("qwen3-untied-mha", "int4", 9e-2, false);
}

#[test]
fn biases_in_the_attention() {
    check("qwen3-attention-bias", "f32", 1e-10, true);
    check("qwen3-attention-bias", "bf16", 1e-10, true);
    check("qwen3-attention-bias", "int8", 1e-3, false);
    check("qwen3-attention-bias", "int4", 9e-2, false);
    check("qwen2-bias", "f32", 1e-10, true);
    check("qwen2-bias", "int8", 2e-3, false);
}

#[test]
fn a_llama_with_its_positions() {
    check("llama3-rope", "f32", 1e-10, true);
    check("llama3-rope", "int8", 2e-3, false);
}

#[test]
fn yarn_positions() {
    check("qwen3-yarn", "f32", 1e-10, true);
}

#[test]
fn sliding_windows() {
    check("qwen3-sliding", "f32", 1e-10, true);
}

#[test]
fn biases_of_qwen2() {
    check("qwen2-bias", "f32", 1e-10, true);
    check("qwen2-bias", "bf16", 1e-10, true);
}

#[test]
fn llama_and_its_scaling() {
    check("llama3-rope", "f32", 1e-10, true);
    check("llama3-rope", "bf16", 1e-10, true);
}
