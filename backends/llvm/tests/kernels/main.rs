//! Generated code against the interpreter: odd shapes, all types of weights, inputs and caches, all CPU
//! levels that this machine can run; and bit for bit the same in any company.

#![allow(clippy::unwrap_used)]

mod adapters;
mod compressed;
mod described;
mod loaded;
mod readable;
mod spans;

use std::collections::BTreeSet;

use loaded::{Caches, Loaded, Runner};
use qwenc_abi::KvType;
use qwenc_formats::{DType, Operand, ScaleType};
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::{Checked, Graph, WeightId};
use qwenc_llvm::{Cpu, ATTENTION_PART};
use qwenc_plan::{lower, Activations, Dictionaries, Options, Plan};
use qwenc_testing::shapes::{graph, mixed, Random, Shape, ODD, ODDER};

/// Rows of several ranges and a short last step.
const LONG: Shape = Shape {
    layers: 1,
    hidden: 332,
    intermediate: 605,
    heads: 2,
    kv_heads: 1,
    head_dim: 48,
    vocab: 70,
    tied: false,
    windows: false,
};

/// Squared error over squared size.
fn nmse(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    error / expected.iter().map(|b| b * b).sum::<f64>()
}

fn tokens(n: usize, vocab: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 7919 + 13) % vocab).collect()
}

/// A plan for any CPU that reads its formats: scratch memory is the same for all.
fn planned(graph: &Checked<Graph>, activations: Activations, compressed: bool) -> Checked<Plan> {
    let all = || (0..graph.weights.len() as u32).map(WeightId).collect();
    let plain = if compressed { BTreeSet::new() } else { all() };
    let cpu = Cpu::named("native").unwrap();
    lower(graph, &cpu, &Options { activations, plain, ..Options::default() }).unwrap()
}

/// CPU levels that this machine runs.
fn cpus() -> Vec<&'static str> {
    let native = Cpu::named("native").unwrap();
    let runs = |name: &&str| Cpu::named(name).unwrap().features().iter().all(|f| native.has(f));
    let all = ["x86-64", "x86-64-v3", "alderlake", "x86-64-v4", "icelake-server", "cooperlake"];
    all.into_iter().filter(runs).collect()
}

/// One sequence's logits, fed in the given chunks.
fn logits(loaded: &Loaded, kv: KvType, tokens: &[u32], chunks: &[usize], threads: usize) -> Vec<f32> {
    let mut runner = Runner::new(loaded, *chunks.iter().max().unwrap(), threads);
    let mut caches = Caches::new(loaded, kv, 1, tokens.len());
    let (mut out, mut at) = (Vec::new(), 0);
    for &n in chunks {
        let rows: Vec<_> = (at..at + n).map(|i| (tokens[i], i, 0)).collect();
        out.extend(runner.step(&rows, &mut caches).into_iter().flatten());
        at += n;
    }
    assert_eq!(at, tokens.len());
    out
}

fn assert_same(what: &str, a: &[f32], b: &[f32]) {
    let differs = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differs.map(|i| (i, a[i], b[i])), None, "{what}");
    assert_eq!(a.len(), b.len(), "{what}");
}

/// Formats that kernels are compiled for, and the distance of logits from the interpreter's: the interpreter has the
/// same weights, so that is the inputs' rounding alone.
#[derive(Clone, Copy)]
struct Case {
    dtype: DType,
    /// Type of some of the matrices, of others than `dtype`.
    other: Option<DType>,
    activations: Activations,
    tolerance: f64,
    compressed: bool,
}

impl Case {
    fn of((dtype, activations, compressed): Kind, tolerance: f64) -> Case {
        Case { dtype, other: None, activations, tolerance, compressed }
    }

    fn graph(self, shape: Shape) -> Checked<Graph> {
        match self.other {
            Some(other) => mixed(shape, self.dtype, other),
            None => graph(shape, self.dtype),
        }
    }

    fn plan(self, shape: Shape) -> Checked<Plan> {
        let Case { activations, compressed, .. } = self;
        let plan = planned(&self.graph(shape), activations, compressed);
        assert!(Dictionaries::new(&plan, &Random, 1).unwrap().misfits().is_empty());
        plan
    }

    /// Against the interpreter in f64 on every CPU, and the same over chunks and threads.
    fn check(self, shape: Shape) {
        self.check_on(&cpus(), shape);
    }

    /// The same on some CPUs.
    fn check_on(self, cpus: &[&str], shape: Shape) {
        let plan = self.plan(shape);
        let tokens = tokens(37, shape.vocab);
        let graph = self.graph(shape);
        let mut interpreter = Interpreter::new(&graph, &Random, Precision::F64);
        let expected = interpreter.step(&tokens, &mut |_, _| {}).unwrap().data;
        for &cpu in cpus {
            let loaded = Loaded::of(&plan, cpu, &Random);
            let name = format!("{cpu} {} {:?}", self.dtype, self.activations);
            let one_by_one = logits(&loaded, KvType::F32, &tokens, &[1; 37], 1);
            let error = nmse(&one_by_one, &expected);
            println!("{name}: NMSE {error:.2e}");
            assert!(error <= self.tolerance, "{name}: NMSE {error:.2e} > {:.0e}", self.tolerance);
            let ways: [(&[usize], usize); 4] =
                [(&[37], 1), (&[37], 3), (&[1, 2, 7, 13, 14], 2), (&[16, 21], 5)];
            for (chunks, threads) in ways {
                let other = logits(&loaded, KvType::F32, &tokens, chunks, threads);
                assert_same(&format!("{name}: {threads} threads, chunks {chunks:?}"), &one_by_one, &other);
            }
        }
    }
}

/// Weights, inputs, and whether the weights are compressed.
type Kind = (DType, Activations, bool);

const I8: DType = DType::I8 { group: 64, scales: ScaleType::F32 };
const I4: DType = DType::I4 { group: 32, scales: ScaleType::F16 };

const BLOCKS: [DType; 2] = [DType::Q4K, DType::Q6K];

#[test]
fn f32_weights() {
    for shape in [ODD, ODDER] {
        Case::of((DType::F32, Activations::Default, false), 1e-11).check(shape);
    }
}

#[test]
fn f16_weights() {
    for shape in [ODD, ODDER] {
        Case::of((DType::F16, Activations::Default, false), 1e-11).check(shape);
    }
}

#[test]
fn bf16_weights() {
    for shape in [ODD, ODDER] {
        Case::of((DType::Bf16, Activations::Default, false), 1e-11).check(shape);
        Case::of((DType::Bf16, Activations::Bf16, false), 1e-4).check(shape);
    }
}

#[test]
fn int8_weights() {
    for shape in [ODD, ODDER] {
        Case::of((I8, Activations::F32, false), 1e-7).check(shape);
        Case::of((I8, Activations::Default, false), 5e-4).check(shape);
        Case::of((I8, Activations::Int8, false), 2e-3).check(shape);
    }
    let halves = DType::I8 { group: 32, scales: ScaleType::F16 };
    Case::of((halves, Activations::Default, false), 5e-4).check(ODD);
    let sevens = DType::I8 { group: 7, scales: ScaleType::F32 };
    Case::of((sevens, Activations::F32, false), 1e-7).check(ODDER);
}

/// Rows of two formats in one matrix, gate and up that cannot be paired, layers of two kinds: the first columns of the second
/// rows at multiples of 16 and at none.
#[test]
fn weights_of_several_formats() {
    for shape in [ODD, ODDER] {
        for (dtype, other, tolerance) in
            [(DType::Bf16, DType::F32, 1e-11), (I8, I4, 1e-3), (I4, DType::Bf16, 1e-3)]
        {
            let case = Case::of((dtype, Activations::Default, false), tolerance);
            Case { other: Some(other), ..case }.check(shape);
        }
    }
}

#[test]
fn int4_weights() {
    for shape in [ODD, ODDER] {
        Case::of((I4, Activations::Default, false), 1e-3).check(shape);
    }
    let twenties = DType::I4 { group: 20, scales: ScaleType::F32 };
    Case::of((twenties, Activations::Default, false), 1e-3).check(ODDER);
}

/// GGUF's formats of blocks, with the same two forms of inputs; rows that end within a block.
#[test]
fn block_weights() {
    for dtype in BLOCKS {
        for shape in [ODD, ODDER] {
            Case::of((dtype, Activations::F32, false), 1e-7).check(shape);
            Case::of((dtype, Activations::Default, false), 1e-3).check(shape);
        }
        Case::of((dtype, Activations::Default, false), 1e-3).check(LONG);
    }
}

/// Every type of weights and inputs that has kernels of its own.
const KINDS: [Kind; 11] = [
    (DType::F32, Activations::Default, false),
    (DType::F16, Activations::Default, false),
    (DType::Bf16, Activations::Default, false),
    (DType::Bf16, Activations::Default, true),
    (DType::Bf16, Activations::Bf16, false),
    (DType::Bf16, Activations::Bf16, true),
    (I8, Activations::Default, false),
    (I8, Activations::Int8, false),
    (I4, Activations::Default, false),
    (DType::Q4K, Activations::Default, false),
    (DType::Q6K, Activations::Default, false),
];

/// Those that this machine runs.
fn kinds() -> impl Iterator<Item = Kind> {
    let reads_bf12 = Cpu::named("native").unwrap().reads(Operand::Bf12);
    KINDS.into_iter().filter(move |&(_, _, compressed)| reads_bf12 || !compressed)
}

#[test]
fn any_number_of_tokens_at_once() {
    let tokens = tokens(513, ODD.vocab);
    for kind @ (dtype, activations, compressed) in kinds() {
        let plan = Case::of(kind, 0.0).plan(ODD);
        let loaded = Loaded::of(&plan, "native", &Random);
        for kv in KvType::ALL {
            let whole = logits(&loaded, kv, &tokens, &[513], 2);
            for n in [1, 2, 7, 64] {
                let mut chunks = vec![n; 513 / n];
                chunks.extend([513 % n].into_iter().filter(|&rest| rest > 0));
                let other = logits(&loaded, kv, &tokens, &chunks, 1);
                assert_same(
                    &format!("{dtype} {activations:?} {compressed} {kv:?}, {n} at once"),
                    &whole,
                    &other,
                );
            }
        }
    }
}

#[test]
fn parts_join_to_what_the_interpreter_says() {
    let tokens = tokens(ATTENTION_PART as usize + 70, ODD.vocab);
    let case = Case::of((DType::F32, Activations::Default, false), 1e-11);
    let graph = graph(ODD, case.dtype);
    let mut interpreter = Interpreter::new(&graph, &Random, Precision::F64);
    let expected = interpreter.step(&tokens, &mut |_, _| {}).unwrap().data;
    let loaded = Loaded::of(&case.plan(ODD), "native", &Random);
    let found = logits(&loaded, KvType::F32, &tokens, &[tokens.len()], 2);
    let last = ATTENTION_PART as usize * ODD.vocab as usize;
    let error = nmse(&found[last..], &expected[last..]);
    assert!(error <= case.tolerance, "NMSE {error:.2e}");
}

/// Positions beyond the first part, where threads that the kv heads leave without work take parts of one token.
#[test]
fn long_contexts_are_shared_out() {
    for shape in [ODD, ODDER] {
        let plan = Case::of((I8, Activations::Default, false), 0.0).plan(shape);
        let loaded = Loaded::of(&plan, "native", &Random);
        let tokens = tokens(2 * ATTENTION_PART as usize - 20, shape.vocab);
        let mut chunks = vec![ATTENTION_PART as usize - 2, 1, 1, 1, ATTENTION_PART as usize - 26];
        chunks.extend([1; 5]);
        for kv in KvType::ALL {
            let alone = logits(&loaded, kv, &tokens, &chunks, 1);
            for threads in [2, 3, 5] {
                let shared = logits(&loaded, kv, &tokens, &chunks, threads);
                assert_same(&format!("{kv:?}, {threads} threads"), &alone, &shared);
            }
        }
    }
}

/// Sequences of different lengths decoded together, one leaving after the other.
#[test]
fn in_any_company() {
    let lengths = [37, 5, 21, 16, 1, 30, 33, 2, 19];
    let sequences: Vec<Vec<u32>> =
        lengths.iter().enumerate().map(|(i, &n)| tokens(n + i, ODD.vocab)[i..].to_vec()).collect();
    for kind @ (dtype, activations, compressed) in kinds() {
        let plan = Case::of(kind, 0.0).plan(ODD);
        let loaded = Loaded::of(&plan, "native", &Random);
        for kv in KvType::ALL {
            let mut runner = Runner::new(&loaded, lengths.len(), 2);
            let mut caches = Caches::new(&loaded, kv, lengths.len(), 37);
            let mut together = vec![Vec::new(); lengths.len()];
            for position in 0..37 {
                let token = |(s, line): (usize, &Vec<u32>)| line.get(position).map(|&t| (t, position, s));
                let rows: Vec<_> = sequences.iter().enumerate().filter_map(token).collect();
                for (row, line) in rows.iter().zip(runner.step(&rows, &mut caches)) {
                    together[row.2].extend(line);
                }
            }
            for (sequence, together) in sequences.iter().zip(&together) {
                let alone = logits(&loaded, kv, sequence, &[sequence.len()], 1);
                assert_same(&format!("{dtype} {activations:?} {compressed} {kv:?}"), &alone, together);
            }
        }
    }
}

/// Rows of several sequences, of which some see one part and others two, taken by the same thread.
#[test]
fn long_beside_short() {
    const LAST: usize = 3;
    let lengths = [ATTENTION_PART as usize + 30, 9, ATTENTION_PART as usize + 5, 6];
    for shape in [ODD, ODDER] {
        let plan = Case::of((I8, Activations::Default, false), 0.0).plan(shape);
        let loaded = Loaded::of(&plan, "native", &Random);
        let sequences = lengths.map(|n| tokens(n, shape.vocab));
        for kv in KvType::ALL {
            let mut runner = Runner::new(&loaded, lengths.iter().sum(), 2);
            let mut caches = Caches::new(&loaded, kv, lengths.len(), lengths[0]);
            let mut together = vec![Vec::new(); lengths.len()];
            // All prompts in one step, then the last tokens of each in another.
            for begins in [true, false] {
                let cut = |tokens: &[u32]| {
                    if begins {
                        0..tokens.len() - LAST
                    } else {
                        tokens.len() - LAST..tokens.len()
                    }
                };
                let of = |(s, tokens): (usize, &Vec<u32>)| {
                    cut(tokens).map(|i| (tokens[i], i, s)).collect::<Vec<_>>()
                };
                let rows: Vec<_> = sequences.iter().enumerate().flat_map(of).collect();
                for (row, line) in rows.iter().zip(runner.step(&rows, &mut caches)) {
                    together[row.2].extend(line);
                }
            }
            for (sequence, together) in sequences.iter().zip(&together) {
                let alone = logits(&loaded, kv, sequence, &[sequence.len()], 1);
                assert_same(&format!("{kv:?}, {} tokens", sequence.len()), &alone, together);
            }
        }
    }
}
