//! Properties that the semantics must have whatever the weights: steps may be cut anywhere, a token
//! sees no later one and none outside its window, and names are those of the layers.

mod model;

use model::{model, Random};
use qwenc_formats::WeightError;
use qwenc_ir::interp::{Interpreter, Precision, Value};
use qwenc_ir::{verify, Checked, Graph, Layers, WeightDecl, WeightSource};

const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 2, 6, 5, 3];

/// Logits of all tokens, fed in these chunks.
fn run(graph: &Checked<Graph>, precision: Precision, chunks: &[&[u32]]) -> Value {
    let mut interpreter = Interpreter::new(graph, &Random, precision);
    let mut all = Value::zeros(0, graph.dims.vocab_rows as usize);
    for chunk in chunks {
        let logits = interpreter.step(chunk, &mut |_, _| ()).expect("every weight is there");
        all = all.concat_rows(&logits);
    }
    assert!(all.data.iter().all(|v| v.is_finite()) && all.data.iter().any(|&v| v != 0.0));
    all
}

fn whole(graph: &Checked<Graph>, tokens: &[u32]) -> Value {
    run(graph, Precision::F64, &[tokens])
}

/// One layer, so that what a token sees is the window and nothing by way of other tokens.
fn one_layer(window: &str) -> Checked<Graph> {
    model(&[("layers=2", "layers=1"), ("layers 0-1 {", &format!("layers 0{window} {{"))])
}

#[test]
fn chunks_give_the_bits_of_one_step() {
    let groups = [(Layers::from_iter([0]), Some(3)), (Layers::from_iter([1]), None)];
    let windowed = model(&[]).into_inner().regrouped(groups);
    for graph in [model(&[]), verify(windowed).unwrap()] {
        for precision in [Precision::F32, Precision::F64] {
            let expected = run(&graph, precision, &[&TOKENS]);
            let singles: Vec<&[u32]> = TOKENS.chunks(1).collect();
            for chunks in [singles, TOKENS.chunks(4).collect(), vec![&TOKENS[..1], &TOKENS[1..]]] {
                assert_eq!(run(&graph, precision, &chunks), expected, "{precision:?}, {chunks:?}");
            }
        }
    }
}

#[test]
fn a_token_sees_no_later_one() {
    let graph = model(&[]);
    let mut other = TOKENS;
    other[6] = 0;
    let (a, b) = (whole(&graph, &TOKENS), whole(&graph, &other));
    for t in 0..6 {
        assert_eq!(a.row(t), b.row(t), "position {t} sees position 6");
    }
    for t in 6..TOKENS.len() {
        assert_ne!(a.row(t), b.row(t), "position {t} does not see position 6");
    }
}

#[test]
fn a_window_counts_the_token_itself() {
    for window in [1, 2, 3, 5] {
        let graph = one_layer(&format!(" window={window}"));
        let expected = whole(&graph, &TOKENS);
        let last = TOKENS.len() - 1;
        for changed in 0..last {
            let mut other = TOKENS;
            other[changed] = 0;
            let sees = whole(&graph, &other).row(last) != expected.row(last);
            assert_eq!(sees, last - changed < window, "window {window}, position {changed}");
        }
    }
}

#[test]
fn a_window_of_the_whole_context_is_no_window() {
    assert_eq!(whole(&one_layer(" window=32"), &TOKENS), whole(&one_layer(""), &TOKENS));
    assert_ne!(whole(&one_layer(" window=2"), &TOKENS), whole(&one_layer(""), &TOKENS));
}

/// Without RoPE a sum over the keys knows no order; with it the same tokens in another order differ.
#[test]
fn positions_matter() {
    let graph = one_layer("");
    let (a, b) = (whole(&graph, &[1, 2, 3]), whole(&graph, &[2, 1, 3]));
    assert_ne!(a.row(2), b.row(2));
    // Position 0 is rotated by nothing, and a token alone attends to itself with weight 1.
    let other =
        model(&[("layers=2", "layers=1"), ("layers 0-1 {", "layers 0 {"), ("theta=10000", "theta=500")]);
    assert_eq!(whole(&graph, &[4]), whole(&other, &[4]));
}

#[test]
fn f32_rounds_what_f64_keeps() {
    let graph = model(&[]);
    let (narrow, wide) = (run(&graph, Precision::F32, &[&TOKENS]), whole(&graph, &TOKENS));
    assert!(narrow.data.iter().all(|v| *v == f64::from(*v as f32)));
    assert!(wide.data.iter().any(|v| *v != f64::from(*v as f32)));
    let largest = wide.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (a, b) in narrow.data.iter().zip(&wide.data) {
        assert!((a - b).abs() < 1e-5 * largest, "{a} against {b}");
    }
}

#[test]
fn labelled_values_are_seen_by_layer() {
    let graph = model(&[]);
    let mut seen = Vec::new();
    let mut observe = |name: &str, value: &Value| seen.push((name.to_string(), value.rows, value.cols));
    Interpreter::new(&graph, &Random, Precision::F32).step(&[1, 2], &mut observe).expect("weights");
    assert_eq!(seen.first(), Some(&("embed".to_string(), 2, 6)));
    assert_eq!(seen.last(), Some(&("logits".to_string(), 2, 7)));
    for expected in [("layer.0.q_rope", 2, 8), ("layer.1.k_rope", 2, 4), ("layer.1.out", 2, 6)] {
        assert!(seen.iter().any(|(n, r, c)| (n.as_str(), *r, *c) == expected), "{expected:?} in {seen:?}");
    }
    assert_eq!(seen.len(), 1 + 2 * 15 + 2);
}

struct Nothing;

impl WeightSource for Nothing {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<qwenc_formats::Tensor<'_>, WeightError> {
        Err(WeightError::Missing { name: decl.tensor_name(layer) })
    }
}

#[test]
fn a_missing_weight_is_named() {
    let graph = model(&[]);
    let e = Interpreter::new(&graph, &Nothing, Precision::F32).step(&[0], &mut |_, _| ());
    assert_eq!(e.expect_err("there are none").to_string(), "tensor embed: not found in the checkpoint");
}
