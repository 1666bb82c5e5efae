//! Ops alone, each against a small computation of its own. In: values and positions. Out: nothing.
//! Invariant: what is expected is written here from the formulas, with none of the code under test.

use super::eval::eval;
use super::value::{Precision, Value};
use super::Context;
use crate::dims::Dims;
use crate::graph::Graph;
use crate::layers::Layers;
use crate::op::{Eps, Op};
use crate::rope::{Rope, Scaling};

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const DIM: usize = 8;

fn graph(rope: Rope, window: Option<u32>) -> Graph {
    let dims = Dims {
        layers: 1,
        hidden: 32,
        intermediate: 6,
        heads: HEADS as u32,
        kv_heads: KV_HEADS as u32,
        head_dim: DIM as u32,
        vocab_rows: 2,
        context: 1 << 16,
    };
    let mut graph = Graph::new("alone", dims, rope);
    graph.add_group(Layers::first(1), window);
    graph
}

/// The op's value after `past` positions.
fn alone(graph: &Graph, op: Op, args: &[&Value], past: usize) -> Value {
    let inv_freq = graph.rope.inv_freq(DIM as u32);
    let cached = [Value::zeros(0, 0), Value::zeros(0, 0)];
    let mut context = Context {
        graph,
        precision: Precision::F64,
        inv_freq: &inv_freq,
        layer: 0,
        window: graph.groups[0].window,
        adapter: None,
        tokens: &[],
        cached: &cached,
        past,
        appended: [None, None],
    };
    eval(op, args, &mut context)
}

/// Values of both signs, none alike.
fn some(rows: usize, cols: usize) -> Value {
    let data = (0..rows * cols).map(|i| ((i * 37 + 11) % 64) as f64 / 16.0 - 2.03).collect();
    Value { rows, cols, data }
}

/// Frequencies of pair `i` as papers and transformers write them, and what cosine and sine are multiplied by.
type Frequencies = fn(i: f64) -> (f64, f64);

const THETA: f64 = 10_000.0;

fn plain(i: f64) -> f64 {
    THETA.powf(-2.0 * i / DIM as f64)
}

/// Factor 4 of 64: the ramp of YaRN runs over the pairs that turn 32 times to once in 64 positions.
fn yarn(i: f64) -> (f64, f64) {
    let pair_of =
        |turns: f64| DIM as f64 * (64.0 / (turns * std::f64::consts::TAU)).ln() / (2.0 * THETA.ln());
    let (low, high) = (pair_of(32.0).floor().max(0.0), pair_of(1.0).ceil().min(DIM as f64 - 1.0));
    let mix = ((i - low) / (high - low)).clamp(0.0, 1.0);
    (plain(i) / 4.0 * mix + plain(i) * (1.0 - mix), 1.0 + 0.1 * 4f64.ln())
}

/// Factor 8 of 64: less than once in 64 positions is divided, more than 4 times stays.
fn llama3(i: f64) -> (f64, f64) {
    let turns = 64.0 * plain(i) / std::f64::consts::TAU;
    let kept = ((turns - 1.0) / 3.0).clamp(0.0, 1.0);
    (plain(i) * (kept + (1.0 - kept) / 8.0), 1.0)
}

fn ntk(i: f64) -> (f64, f64) {
    let (factor, dim) = (4f64, DIM as f64);
    ((THETA * factor.powf(dim / (dim - 2.0))).powf(-2.0 * i / dim), 1.0)
}

#[test]
fn rope_of_every_kind_turns_pairs_at_positions_near_and_far() {
    let yarn_rule = Scaling::Yarn {
        factor: 4.0,
        original_context: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: (1.0 + 0.1 * 4f64.ln()) as f32,
    };
    let llama3_rule = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 64 };
    let kinds: [(Scaling, Frequencies); 5] = [
        (Scaling::None, |i| (plain(i), 1.0)),
        (Scaling::Linear { factor: 4.0 }, |i| (plain(i) / 4.0, 1.0)),
        (Scaling::Ntk { factor: 4.0 }, ntk),
        (yarn_rule, yarn),
        (llama3_rule, llama3),
    ];
    for (scaling, frequencies) in kinds {
        let graph = graph(Rope { theta: THETA as f32, scaling }, None);
        for position in [0usize, 1, 31, 32, 1000, 40_000] {
            let x = some(1, HEADS * DIM);
            let found = alone(&graph, Op::Rope, &[&x], position);
            // Frequencies and angles are f32, so an angle is off by as much as its own last digits.
            let most = 1e-6 + 3e-7 * position as f64;
            for (at, found) in found.data.iter().enumerate() {
                let (head, e) = (at / DIM * DIM, at % DIM);
                let pair = e % (DIM / 2);
                let (frequency, factor) = frequencies(pair as f64);
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (re, im) = (x.data[head + pair], x.data[head + pair + DIM / 2]);
                let turned = if e < DIM / 2 { re * cos - im * sin } else { re * sin + im * cos };
                let off = (found - factor * turned).abs();
                assert!(off <= 4.0 * most, "{scaling:?}, position {position}, element {at}: off by {off:e}");
            }
        }
    }
}

#[test]
fn each_key_head_serves_its_group_of_query_heads() {
    let x = some(3, KV_HEADS * DIM);
    let found = alone(&graph(Rope::new(1e4), None), Op::RepeatKv, &[&x], 0);
    assert_eq!((found.rows, found.cols), (3, HEADS * DIM));
    for t in 0..3 {
        // Heads 0 and 1 read key head 0, heads 2 and 3 key head 1.
        for (head, of) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
            assert_eq!(found.row(t)[head * DIM..][..DIM], x.row(t)[of * DIM..][..DIM], "head {head}");
        }
    }
}

#[test]
fn q_and_k_norm_is_of_each_head_by_itself() {
    let (x, gain) = (some(2, HEADS * DIM), some(1, DIM));
    let found = alone(&graph(Rope::new(1e4), None), Op::HeadNorm(Eps::new(1e-6)), &[&x, &gain], 0);
    for (at, found) in found.data.iter().enumerate() {
        let head = &x.data[at / DIM * DIM..][..DIM];
        let square: f64 = head.iter().map(|v| v * v).sum();
        let expected = x.data[at] / (square / 8.0 + f64::from(1e-6f32)).sqrt() * gain.data[at % DIM];
        assert!((found - expected).abs() < 1e-12, "{at}: {found} for {expected}");
    }
    // Not by way of the whole width: another head's values change nothing.
    let mut other = x.clone();
    other.data[DIM] = 100.0;
    let again = alone(&graph(Rope::new(1e4), None), Op::HeadNorm(Eps::new(1e-6)), &[&other, &gain], 0);
    assert_eq!(again.row(0)[..DIM], found.row(0)[..DIM]);
    assert_ne!(again.row(0)[DIM..2 * DIM], found.row(0)[DIM..2 * DIM]);
}

#[test]
fn swiglu_is_the_gates_sigmoid_times_both_halves() {
    let x = some(3, 12);
    let found = alone(&graph(Rope::new(1e4), None), Op::Swiglu, &[&x], 0);
    assert_eq!((found.rows, found.cols), (3, 6));
    for t in 0..3 {
        for i in 0..6 {
            let (gate, up) = (x.row(t)[i], x.row(t)[6 + i]);
            let sigmoid = 0.5 * (1.0 + (gate / 2.0).tanh());
            assert!((found.row(t)[i] - gate * sigmoid * up).abs() < 1e-12, "{t} {i}");
        }
    }
}

#[test]
fn a_window_shows_itself_and_those_just_before() {
    for window in [None, Some(1), Some(2), Some(5), Some(100)] {
        for past in [0usize, 1, 4, 7] {
            let (new, all) = (3, past + 3);
            let scores = some(new * HEADS, all);
            let found = alone(&graph(Rope::new(1e4), window), Op::CausalMask, &[&scores], past);
            for (at, found) in found.data.iter().enumerate() {
                let (t, s) = (past + at / all / HEADS, at % all);
                let near = window.is_none_or(|w| t - s.min(t) < w as usize);
                let expected = if s <= t && near { scores.data[at] } else { f64::NEG_INFINITY };
                assert_eq!(*found, expected, "window {window:?}, past {past}, token {t}, position {s}");
            }
        }
    }
}
