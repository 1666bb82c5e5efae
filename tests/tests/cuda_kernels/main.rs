//! Generated CUDA kernels against the interpreter, run on the host in permuted orders: odd shapes, all types of
//! weights, inputs and caches; and bit for bit the same in any company.

#![allow(clippy::unwrap_used)]

#[path = "../../../backends/llvm/tests/kernels/model.rs"]
mod model;
mod stepper;

use model::{graph, Random, Shape, ODD, ODDER};
use qwenc_abi::KvType;
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::{Checked, DType, ScaleType};
use qwenc_plan::{lower, Activations, Options, Plan};
use stepper::{Device, Stepper};

/// Squared error over squared size.
fn nmse(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    error / expected.iter().map(|b| b * b).sum::<f64>()
}

fn tokens(n: usize, vocab: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 7919 + 13) % vocab).collect()
}

/// One sequence's logits, fed in the given chunks.
fn logits(device: &Device, kv: KvType, tokens: &[u32], chunks: &[usize], seed: u64) -> Vec<f32> {
    let most = *chunks.iter().max().unwrap();
    let mut stepper = Stepper::new(device, kv, 1, tokens.len(), most).seed(seed);
    let (mut out, mut at) = (Vec::new(), 0);
    for &n in chunks {
        let rows: Vec<_> = (at..at + n).map(|i| (tokens[i], i, 0)).collect();
        let (lines, picks) = stepper.step(&rows);
        for (line, pick) in lines.iter().zip(picks) {
            let best = line.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            assert_eq!(best.map(|b| b.0 as u32), Some(pick), "the likeliest token");
        }
        out.extend(lines.into_iter().flatten());
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

/// What is compiled, and how far its logits may be from the interpreter's.
#[derive(Clone, Copy)]
struct Case {
    dtype: DType,
    activations: Activations,
    tolerance: f64,
}

impl Case {
    fn plan(self, shape: Shape) -> Checked<Plan> {
        let options = Options { activations: self.activations, ..Options::default() };
        lower(&graph(shape, self.dtype), &options).unwrap()
    }

    fn check(self, shape: Shape) {
        let plan = self.plan(shape);
        let tokens = tokens(37, shape.vocab);
        let graph = graph(shape, self.dtype);
        let mut interpreter = Interpreter::new(&graph, &Random, Precision::F64);
        let expected = interpreter.step(&tokens, &mut |_, _| {}).unwrap().data;
        let device = Device::of(&plan, &Random);
        let name = format!("{} {:?}", self.dtype, self.activations);
        let one_by_one = logits(&device, KvType::F32, &tokens, &[1; 37], 1);
        let error = nmse(&one_by_one, &expected);
        println!("{name}: NMSE {error:.2e}");
        assert!(error <= self.tolerance, "{name}: NMSE {error:.2e} > {:.0e}", self.tolerance);
        let ways: [&[usize]; 4] = [&[37], &[1, 2, 7, 13, 14], &[16, 21], &[20, 17]];
        for (seed, chunks) in (2..).zip(ways) {
            let other = logits(&device, KvType::F32, &tokens, chunks, seed);
            assert_same(&format!("{name}: chunks {chunks:?}"), &one_by_one, &other);
        }
    }
}

const I8: DType = DType::I8 { group: 64, scales: ScaleType::F32 };
const I4: DType = DType::I4 { group: 32, scales: ScaleType::F16 };

#[test]
fn f32_weights() {
    for shape in [ODD, ODDER] {
        Case { dtype: DType::F32, activations: Activations::Default, tolerance: 1e-7 }.check(shape);
    }
}

#[test]
fn bf16_weights() {
    for shape in [ODD, ODDER] {
        Case { dtype: DType::Bf16, activations: Activations::Default, tolerance: 1e-7 }.check(shape);
        Case { dtype: DType::Bf16, activations: Activations::Bf16, tolerance: 1e-3 }.check(shape);
    }
}

#[test]
fn int8_weights() {
    for shape in [ODD, ODDER] {
        Case { dtype: I8, activations: Activations::F32, tolerance: 1e-7 }.check(shape);
        Case { dtype: I8, activations: Activations::Default, tolerance: 5e-4 }.check(shape);
        Case { dtype: I8, activations: Activations::Int8, tolerance: 2e-3 }.check(shape);
    }
    let halves = DType::I8 { group: 32, scales: ScaleType::F16 };
    Case { dtype: halves, activations: Activations::Default, tolerance: 5e-4 }.check(ODD);
}

#[test]
fn int4_weights() {
    for shape in [ODD, ODDER] {
        Case { dtype: I4, activations: Activations::Default, tolerance: 1e-3 }.check(shape);
    }
}
