//! Whatever the rules make of a model means the same.
//!
//! In: models of several families. Out: logits and named activations of their rewritten graphs over
//! two steps, the second with a cache that is not empty, against the source's: within 1e-10 of the
//! largest value in f64, 1e-5 in f32.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_costs::Machine;
use qwenc_formats::DType;
use qwenc_ir::interp::{Interpreter, Precision, Value};
use qwenc_ir::{Checked, Graph};
use qwenc_opt::{optimise, random_extraction, Limits};
use qwenc_target::NoDevice;
use qwenc_testing::families::{llama, model, qwen2, qwen3, Family, Random, I4, I8};

const EXTRACTIONS: u64 = 32;

/// Everything that has a name, by step and name.
type Seen = BTreeMap<(usize, String), Value>;

fn run(graph: &Checked<Graph>, precision: Precision) -> Seen {
    let mut interpreter = Interpreter::new(graph, &Random, precision).with_adapter(1);
    let mut seen = Seen::new();
    for (step, tokens) in [&[3, 1, 4, 1, 5][..], &[9, 2][..]].into_iter().enumerate() {
        let mut observe = |name: &str, value: &Value| {
            seen.insert((step, name.to_string()), value.clone());
        };
        let logits = interpreter.step(tokens, &mut observe).expect("every weight is there");
        seen.insert((step, "result".to_string()), logits);
    }
    seen
}

/// Each value that both have under one name agrees; the residual stream and the logits are among them.
fn check(source: &Seen, other: &Seen, tolerance: f64, what: &str) {
    for name in ["layer.0.out", "layer.2.attn", "logits", "result"] {
        assert!(other.contains_key(&(1, name.to_string())), "{what}: {name} is lost");
    }
    for (key, value) in other {
        let expected = &source[key];
        assert_eq!((value.rows, value.cols), (expected.rows, expected.cols), "{what}: {key:?}");
        let largest = expected.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        assert!(largest > 0.0 && largest.is_finite(), "{key:?} proves nothing");
        for (a, b) in value.data.iter().zip(&expected.data) {
            assert!((a - b).abs() <= tolerance * largest, "{what}: {key:?}: {a} against {b}");
        }
    }
}

fn families() -> Vec<Family> {
    let window = Some(3);
    vec![
        qwen3(DType::F32),
        Family { window, ..qwen3(DType::Bf16) },
        Family { window, ..qwen3(I8) },
        Family { window, ..qwen3(I4) },
        Family { dequant: false, ..qwen3(I8) },
        Family { dtype_v: DType::Bf16, ..qwen3(I8) },
        Family { eps_k: 1e-2, ..qwen3(DType::F32) },
        Family { biases: [true, false, true], ..qwen3(DType::F32) },
        Family { window, ..qwen2(DType::F32) },
        qwen2(I8),
        llama(DType::Bf16),
        Family { adapters: Some((3, 2)), ..qwen3(I8) },
        Family { adapters: Some((1, 3)), ..qwen2(DType::Bf16) },
    ]
}

#[test]
fn optimised_models_agree() {
    for family in families() {
        let source = model(&family);
        let out = optimise(&source, &NoDevice, &Machine::cpu_default(), &Limits::default())
            .expect("it can be optimised");
        for (precision, tolerance) in [(Precision::F64, 1e-10), (Precision::F32, 1e-5)] {
            let expected = run(&source, precision);
            check(&expected, &run(&out.graph, precision), tolerance, &format!("{family:?}"));
        }
    }
}

#[test]
fn random_extractions_agree() {
    for family in families() {
        let source = model(&family);
        let expected = (run(&source, Precision::F64), run(&source, Precision::F32));
        let mut texts = BTreeSet::new();
        for seed in 0..EXTRACTIONS {
            let graph = random_extraction(&source, seed).expect("there is an expression");
            let what = format!("{family:?}, seed {seed}\n{}", *graph);
            check(&expected.0, &run(&graph, Precision::F64), 1e-10, &what);
            check(&expected.1, &run(&graph, Precision::F32), 1e-5, &what);
            texts.insert(graph.to_string());
        }
        assert!(
            texts.len() > EXTRACTIONS as usize / 2,
            "only {} different graphs of {family:?}",
            texts.len()
        );
    }
}

/// Ops that random extractions of a model must have shown, or they prove little.
#[test]
fn random_extractions_reach_every_op() {
    let mut names = BTreeSet::new();
    for family in [qwen3(I8), qwen2(DType::F32), Family { adapters: Some((3, 2)), ..qwen3(DType::F32) }] {
        for seed in 0..4 * EXTRACTIONS {
            let graph = random_extraction(&model(&family), seed).expect("there is an expression");
            let nodes = [&graph.groups[0].block, &graph.head].into_iter().flat_map(|s| &s.nodes);
            names.extend(nodes.map(|n| n.op.name()));
        }
    }
    for name in [
        "dequant",
        "concat_rows",
        "scale_cols",
        "diagonal",
        "select_adapter",
        "rms_norm",
        "linear",
        "head_norm",
        "rope",
        "cache_append_k",
        "cache_append_v",
        "repeat_kv",
        "scores",
        "causal_mask",
        "softmax",
        "weighted_sum",
        "silu",
        "mul",
        "add",
        "lm_head",
        "normalize",
        "slice",
        "swiglu",
        "linear_add",
        "norm_linear",
        "norm_swiglu",
        "norm_lm_head",
        "head_norm_rope",
        "attention",
        "prepare_qkv",
        "prepared_attention",
    ] {
        assert!(names.contains(name), "{name} never came up; only {names:?}");
    }
}

#[test]
fn limits_stop_early_and_never_wrongly() {
    let source = model(&qwen3(I8));
    let expected = run(&source, Precision::F64);
    let default = Limits::default();
    for nodes in [1, 50, 60, 90, 100, 120, 140] {
        limited(&source, &expected, &Limits { nodes, ..default });
    }
    for iterations in [0, 1, 2] {
        limited(&source, &expected, &Limits { iterations, ..default });
    }
    let full =
        optimise(&source, &NoDevice, &Machine::cpu_default(), &default).expect("it can be optimised").report;
    assert!(full.sections.iter().flat_map(|s| &s.stages).all(|s| s.stop == "saturated"), "{full}");
}

fn limited(source: &Checked<Graph>, expected: &Seen, limits: &Limits) {
    let out = optimise(source, &NoDevice, &Machine::cpu_default(), limits).expect("a limit is no error");
    let mut stops = out.report.sections.iter().flat_map(|s| &s.stages).map(|s| s.stop.as_str());
    assert!(stops.any(|s| s.starts_with("limit of")), "{limits:?}: {}", out.report);
    check(expected, &run(&out.graph, Precision::F64), 1e-10, &format!("{limits:?}"));
}
