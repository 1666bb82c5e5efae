//! The graphs against transformers in float32: every named activation, logits, greedy tokens. What transformers
//! did not make, `data/reference.py` did.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::*;
use qwenc_formats::DType;
use qwenc_ir::interp::Precision;
use qwenc_ir::{Graph, WeightDecl, WeightSource};
use qwenc_models::{Checkpoint, Quant};

/// Largest relative norm of the difference to a golden activation.
const TOLERANCE: f64 = 1e-5;

fn check(what: &str, graph: Graph, weights: &dyn WeightSource, golden: &Golden) {
    for precision in [Precision::F32, Precision::F64] {
        let seen = run(graph.clone(), weights, precision, &golden.tokens);
        let mut worst = (0.0, "");
        for (name, expected) in &golden.values {
            let value = seen.get(name).unwrap_or_else(|| panic!("{what}: no activation {name}"));
            let error = relative(&value.data, expected);
            assert!(error <= TOLERANCE, "{what} {precision:?} {name}: {error:e}");
            if error > worst.0 {
                worst = (error, name);
            }
        }
        assert_eq!(seen.len(), golden.values.len(), "{what}: labels without a golden");
        println!("{what} {precision:?}: {} activations, worst {:.1e} at {}", seen.len(), worst.0, worst.1);
    }
}

/// The checkpoint itself, and its f32 and bf16 exports.
fn check_all(case: &str, checkpoint: &Checkpoint, golden: &Golden) {
    check(case, checkpoint.graph().unwrap(), checkpoint, golden);
    for quant in [Quant::F32, Quant::Bf16] {
        let file = exported_file(checkpoint, Some(quant));
        check(&format!("{case} {quant}"), file.graph().unwrap(), &file, golden);
    }
}

#[test]
fn activations_match_transformers() {
    for case in CASES {
        let golden = golden(&folder(case).join("golden.safetensors"));
        check_all(case, &Checkpoint::open(&folder(case)).unwrap(), &golden);
    }
}

#[test]
fn sample_activations_match_transformers() {
    let golden = golden(&folder("nano-activations.safetensors"));
    check_all("sample", &Checkpoint::sample(), &golden);
}

#[test]
fn greedy_tokens_match_transformers() {
    for case in ["qwen3-attention-bias", "qwen3-tied", "qwen3-untied-mha", "qwen2-bias", "llama3-rope"] {
        let golden = golden(&folder(case).join("golden.safetensors"));
        let checkpoint = Checkpoint::open(&folder(case)).unwrap();
        assert_eq!(golden.generated.len(), 24);
        assert_eq!(greedy(checkpoint.graph().unwrap(), &checkpoint, &golden.tokens, 24), golden.generated);
    }
}

#[test]
fn the_sample_knows_the_capital_of_brazil() {
    let golden = golden(&folder("nano-activations.safetensors"));
    let file = exported_file(&Checkpoint::sample(), Some(Quant::I8 { group: 64 }));
    let said = greedy(file.graph().unwrap(), &file, &golden.tokens, 3);
    // " Brasília.", then end of turn.
    assert_eq!(said, [1147, 13, 2039]);
    assert!(file.side_files().stop_tokens.contains(&2039));
}

/// Rounding to 1/254 of a group's largest value costs about 3.5e-5 of a tensor's energy, and each of
/// seven matrices per layer adds that much: random models, without redundancy, gain some 3.5e-4 per
/// layer (qwen3-sliding has three layers, the others two), twice that where no norm follows q and k; the
/// trained sample stays at 3.3e-5.
#[test]
fn int8_logits_are_near() {
    let limits = [
        ("qwen3-tied", 1e-3),
        ("qwen3-untied-mha", 1e-3),
        ("qwen3-yarn", 1e-3),
        ("qwen3-sliding", 1.5e-3),
        ("qwen2-bias", 2e-3),
        ("llama3-rope", 2e-3),
    ];
    for (case, limit) in limits {
        let golden = golden(&folder(case).join("golden.safetensors"));
        check_int8(case, &Checkpoint::open(&folder(case)).unwrap(), &golden, limit);
    }
    let golden = golden(&folder("nano-activations.safetensors"));
    check_int8("sample", &Checkpoint::sample(), &golden, 1e-4);
}

/// Sixteen levels cost a random matrix about 6e-3 of its energy, and each of fourteen adds that much; the
/// trained sample loses less.
#[test]
fn int4_logits_are_near() {
    for (case, limits) in [("qwen3-tied", [0.08, 0.12]), ("qwen3-untied-mha", [0.09, 0.13])] {
        let golden = golden(&folder(case).join("golden.safetensors"));
        check_int4(case, &Checkpoint::open(&folder(case)).unwrap(), &golden, limits);
    }
    let golden = golden(&folder("nano-activations.safetensors"));
    check_int4("sample", &Checkpoint::sample(), &golden, [5e-3, 8e-3]);
}

/// With embeddings in int8, and all in int4.
fn check_int4(case: &str, checkpoint: &Checkpoint, golden: &Golden, limits: [f64; 2]) {
    for (embeddings, limit) in [false, true].into_iter().zip(limits) {
        let file = exported_file(checkpoint, Some(Quant::I4 { group: 32, embeddings }));
        let seen = run(file.graph().unwrap(), &file, Precision::F32, &golden.tokens);
        let nmse = relative(&seen["logits"].data, &golden.values["logits"]).powi(2);
        println!("{case} {}: logits NMSE {nmse:.2e}", file.weight_types());
        assert!(nmse <= limit, "{case}: {nmse:e}");
    }
}

fn check_int8(case: &str, checkpoint: &Checkpoint, golden: &Golden, limit: f64) {
    let file = exported_file(checkpoint, Some(Quant::I8 { group: 64 }));
    let graph = file.graph().unwrap();
    for decl in graph.weights.iter().filter(|w| w.shape.len() == 2) {
        let stored = file.tensor(decl, 0).unwrap().to_f32();
        let original =
            checkpoint.tensor(&WeightDecl { dtype: DType::Bf16, ..decl.clone() }, 0).unwrap().to_f32();
        let stored: Vec<f64> = stored.into_iter().map(f64::from).collect();
        let nmse = relative(&stored, &original).powi(2);
        assert!(nmse <= 6e-5, "{case} {}: {nmse:e}", decl.name);
    }
    let seen = run(graph, &file, Precision::F32, &golden.tokens);
    let nmse = relative(&seen["logits"].data, &golden.values["logits"]).powi(2);
    println!("{case} int8 group 64: logits NMSE {nmse:.2e}");
    assert!(nmse <= limit, "{case}: {nmse:e}");
}
