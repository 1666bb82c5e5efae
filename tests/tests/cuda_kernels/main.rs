//! Generated CUDA kernels against the interpreter, run on the host in permuted orders: odd shapes, all types of
//! weights, inputs and caches; and bit for bit the same in any company.

#![allow(clippy::unwrap_used)]

mod adapters;
mod formats;
mod goldens;
mod spans;
mod stepper;

use qwenc_abi::KvType;
use qwenc_cuda::Gpu;
use qwenc_cuda::Source;
use qwenc_formats::{DType, ScaleType};
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::{Checked, Graph};
use qwenc_plan::{lower, Activations, Options, Plan};
use qwenc_testing::shapes::{graph, Random, Shape, ODD, ODDER};
use qwenc_tests::host_cuda::numbered;
use stepper::{Device, Stepper};

/// Linears whose panels several blocks share, heads of several warps.
const WIDE: Shape = Shape {
    layers: 1,
    hidden: 64,
    intermediate: 512,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    vocab: 700,
    tied: true,
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

/// One sequence's logits, fed in the given chunks.
fn logits(device: &Device, kv: KvType, tokens: &[u32], chunks: &[usize], seed: u64) -> Vec<f32> {
    let most = *chunks.iter().max().unwrap();
    fed(Stepper::new(device, kv, 1, tokens.len(), most).seed(seed), tokens, chunks)
}

fn fed(mut stepper: Stepper, tokens: &[u32], chunks: &[usize]) -> Vec<f32> {
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

/// Formats of a compiled model, and the largest distance of its logits from the interpreter's.
#[derive(Clone, Copy)]
struct Case {
    dtype: DType,
    activations: Activations,
    tolerance: f64,
}

impl Case {
    fn plan(self, shape: Shape) -> Checked<Plan> {
        self.plan_of(&graph(shape, self.dtype))
    }

    fn plan_of(self, graph: &Checked<Graph>) -> Checked<Plan> {
        let options = Options { activations: self.activations, ..Options::default() };
        lower(graph, &Gpu, &options).unwrap()
    }

    fn check(self, shape: Shape) {
        self.check_graph(&graph(shape, self.dtype));
    }

    fn check_graph(self, graph: &Checked<Graph>) {
        let plan = self.plan_of(graph);
        let tokens = tokens(37, graph.dims.vocab_rows);
        let mut interpreter = Interpreter::new(graph, &Random, Precision::F64);
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
        let mut stepper = Stepper::new(&device, KvType::F32, 1, tokens.len(), 1).seed(9);
        stepper.persistent = Some(3);
        assert_same(&format!("{name}: persistent"), &one_by_one, &fed(stepper, &tokens, &[1; 37]));
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

#[test]
fn block_weights() {
    for dtype in [DType::Q4K, DType::Q6K] {
        for shape in [ODD, ODDER] {
            Case { dtype, activations: Activations::F32, tolerance: 1e-7 }.check(shape);
            Case { dtype, activations: Activations::Default, tolerance: 1e-3 }.check(shape);
        }
    }
}

#[test]
fn every_type_of_cache() {
    for kv in [KvType::Bf16, KvType::I8] {
        for (shape, dtype) in [(ODD, DType::Bf16), (ODDER, I8)] {
            let plan = Case { dtype, activations: Activations::F32, tolerance: 0.0 }.plan(shape);
            let tokens = tokens(150, shape.vocab);
            let device = Device::of(&plan, &Random);
            let exact = logits(&device, KvType::F32, &tokens, &[150], 1);
            let expected: Vec<f64> = exact.iter().map(|&v| f64::from(v)).collect();
            let rounded = logits(&device, kv, &tokens, &[150], 2);
            let error = nmse(&rounded, &expected);
            println!("{dtype} {kv:?}: NMSE {error:.2e}");
            assert!(error > 0.0 && error < 1e-3, "{dtype} {kv:?}: NMSE {error:.2e}");
            let mut chunks = vec![128, 17];
            chunks.extend([1; 5]);
            let other = logits(&device, kv, &tokens, &chunks, 3);
            assert_same(&format!("{dtype} {kv:?}"), &rounded, &other);
        }
    }
}

/// Sequences of different lengths decoded together, one leaving after the other.
#[test]
fn in_any_company() {
    let lengths = [37, 5, 21, 16, 1, 30, 33, 2, 19];
    let sequences: Vec<Vec<u32>> =
        lengths.iter().enumerate().map(|(i, &n)| tokens(n + i, ODD.vocab)[i..].to_vec()).collect();
    for (dtype, kv) in [(DType::Bf16, KvType::F32), (I8, KvType::Bf16), (I4, KvType::I8)] {
        let plan = Case { dtype, activations: Activations::Default, tolerance: 0.0 }.plan(ODD);
        let device = Device::of(&plan, &Random);
        let mut stepper = Stepper::new(&device, kv, lengths.len(), 37, lengths.len());
        let mut together = vec![Vec::new(); lengths.len()];
        for position in 0..37 {
            let token = |(s, line): (usize, &Vec<u32>)| line.get(position).map(|&t| (t, position, s));
            let rows: Vec<_> = sequences.iter().enumerate().filter_map(token).collect();
            for (row, line) in rows.iter().zip(stepper.step(&rows).0) {
                together[row.2].extend(line);
            }
        }
        for (sequence, together) in sequences.iter().zip(&together) {
            let alone = logits(&device, kv, sequence, &[sequence.len()], 1);
            assert_same(&format!("{dtype} {kv:?}"), &alone, together);
        }
    }
}

/// Logits and likeliest tokens after everything that a barrier is there for: many rows, few, one; several blocks to a panel and several panels to a block;
/// parts of the positions in several blocks; all in one launch.
fn all_that_waits(device: &Device, seed: u64) -> Vec<f32> {
    let mut stepper = Stepper::new(device, KvType::F32, 1, 612, 20).seed(seed);
    let mut out = Vec::new();
    let mut step = |stepper: &mut Stepper, positions: std::ops::Range<usize>| {
        let rows: Vec<_> = positions.map(|p| (p as u32 * 7 % WIDE.vocab, p, 0)).collect();
        let (logits, picks) = stepper.step(&rows);
        out.extend(logits.into_iter().flatten());
        out.extend(picks.into_iter().map(|p| p as f32));
    };
    step(&mut stepper, 0..20);
    stepper.blocks = 2;
    step(&mut stepper, 20..21);
    // The positions between hold the zeros of a fresh cache.
    step(&mut stepper, 600..601);
    step(&mut stepper, 601..604);
    stepper.persistent = Some(3);
    for position in 604..612 {
        step(&mut stepper, position..position + 1);
    }
    out
}

/// A block that takes more parts of the positions than it has warps.
#[test]
fn parts_in_turn() {
    let plan = Case { dtype: DType::Bf16, activations: Activations::Default, tolerance: 0.0 }.plan(WIDE);
    let whole = qwenc_cuda::emit(&plan).unwrap();
    let fewer = [(1, 32), (3, 4), (64, 1)].map(|(blocks, joined)| in_pieces(&whole, blocks, joined));
    let expected = all_that_waits(&Device::with(&whole, &plan, &Random), 1);
    for code in fewer {
        let found = all_that_waits(&Device::with(&code, &plan, &Random), 1);
        assert_same("in other pieces", &expected, &found);
    }
}

/// Logits in weakly ordered memory, of steps with every variant of the kernels and of persistent ones.
fn all_that_is_published(device: &Device, seed: u64) -> Vec<f32> {
    let tokens: Vec<u32> = (0..29).map(|i| i * 7 % WIDE.vocab).collect();
    let mut stepper = Stepper::new(device, KvType::Bf16, 1, tokens.len(), 17).seed(seed);
    stepper.fences = true;
    let mut out = fed(stepper, &tokens, &[1, 2, 9, 17]);
    // The positions between hold the zeros of a fresh cache.
    let mut stepper = Stepper::new(device, KvType::Bf16, 1, 130, 1).seed(seed);
    (stepper.fences, stepper.blocks) = (true, 2);
    out.extend(stepper.step(&[(3, 128, 0)]).0.concat());
    stepper.persistent = Some(3);
    out.extend(stepper.step(&[(5, 129, 0)]).0.concat());
    out
}

/// Without any one of the fences and waits for earlier launches, results differ or a launch fails.
#[test]
fn no_fence_and_no_wait_for_launches_is_for_nothing() {
    let plan = Case { dtype: DType::Bf16, activations: Activations::Default, tolerance: 0.0 }.plan(WIDE);
    let calls = ["__threadfence();", "wait_for_earlier_launches();"];
    let code = in_pieces(&qwenc_cuda::emit(&plan).unwrap(), 2, 32);
    let survivors = survivors(&plan, code, &calls, all_that_is_published);
    assert!(survivors.is_empty(), "without these nothing changed: {survivors:#?}");
}

/// Calls that can be left out without a change of `run`'s results, of all places of `calls` in the code. Results must not depend
/// on the seed.
fn survivors(
    plan: &Checked<Plan>,
    mut code: Source,
    calls: &[&str],
    run: fn(&Device, u64) -> Vec<f32>,
) -> Vec<String> {
    let places;
    (code.text, places) = numbered(&code.text, calls);
    let device = Device::with(&code, plan, &Random);
    let expected = run(&device, 1);
    for seed in 2..4 {
        assert_same("another order", &expected, &run(&device, seed));
    }
    let survives = |number: usize| {
        device.kernels.leave_out(Some(number));
        (1..=8).all(|seed| {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&device, seed)));
            result.is_ok_and(|found| found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()))
        })
    };
    places.into_iter().enumerate().filter(|(number, _)| survives(*number)).map(|(_, place)| place).collect()
}

/// More query heads to a kv head than a tile has, and heads of the largest size.
#[test]
fn groups_and_heads_of_unusual_sizes() {
    let group = Shape { heads: 36, head_dim: 16, ..WIDE };
    let head = Shape { heads: 4, kv_heads: 1, head_dim: 256, ..WIDE };
    for (shape, dtype, kv) in [(group, DType::Bf16, KvType::F32), (head, I8, KvType::I8)] {
        let plan = Case { dtype, activations: Activations::Default, tolerance: 0.0 }.plan(shape);
        let code = qwenc_cuda::emit(&plan).unwrap();
        let device = Device::with(&code, &plan, &Random);
        let (tokens, chunks) = (tokens(76, shape.vocab), [66, 3, 1, 1, 1, 1, 1, 1, 1]);
        let expected = logits(&device, kv, &tokens, &[76], 1);
        assert_same("steps of 66, 3 and 1", &expected, &logits(&device, kv, &tokens, &chunks, 2));
        let mut stepper = Stepper::new(&device, kv, 1, 76, 66).seed(3);
        stepper.persistent = Some(5);
        assert_same("persistent", &expected, &fed(stepper, &tokens, &chunks));
    }
}

/// Steps of several prompts and of parts of them: blocks with one sequence and with several; chunks that begin inside a part
/// of the positions; a window that begins inside the positions that a block sees.
#[test]
fn blocks_of_prompts() {
    let narrow = Shape { layers: 2, hidden: 32, intermediate: 32, vocab: 64, windows: true, ..WIDE };
    let wide = Shape { heads: 3, kv_heads: 1, head_dim: 160, ..narrow };
    for (shape, kv) in [(narrow, KvType::Bf16), (narrow, KvType::I8), (wide, KvType::F32)] {
        let plan = Case { dtype: DType::Bf16, activations: Activations::Default, tolerance: 0.0 }.plan(shape);
        let code = wider_window(&qwenc_cuda::emit(&plan).unwrap());
        let device = Device::with(&code, &plan, &Random);
        let tokens = tokens(150, shape.vocab);
        let expected = logits(&device, kv, &tokens, &[150], 1);
        let chunks: Vec<usize> = [9, 115].into_iter().chain([1; 26]).collect();
        assert_same("one by one at the end", &expected, &logits(&device, kv, &tokens, &chunks, 2));
        let mut stepper = Stepper::new(&device, kv, 3, 150, 150).seed(3);
        let mut at = [0; 3];
        for counts in [[50, 3, 70], [1, 97, 20], [99, 50, 1], [0, 0, 59]] {
            let rows = (0..3).flat_map(|s| (at[s]..at[s] + counts[s]).map(move |p| (p, s)));
            let rows: Vec<_> = rows.map(|(p, s)| (tokens[p], p, s)).collect();
            for ((_, position, sequence), line) in rows.iter().zip(stepper.step(&rows).0) {
                let alone = &expected[position * line.len()..][..line.len()];
                assert_same(&format!("position {position} of sequence {sequence}"), alone, &line);
            }
            at.iter_mut().zip(counts).for_each(|(at, n)| *at += n);
        }
        assert_eq!(at, [150; 3]);
    }
}

/// The same code with a window longer than a part of the positions.
fn wider_window(code: &Source) -> Source {
    let (from, to) = ("    0, 5,\n", "    0, 70,\n");
    assert!(code.text.contains(from), "{from}");
    Source { text: code.text.replace(from, to), ..code.clone() }
}

/// More blocks than a phase has work for, as on a large device.
#[test]
fn as_many_blocks_as_a_large_device_has() {
    let plan = Case { dtype: I8, activations: Activations::Default, tolerance: 0.0 }.plan(WIDE);
    let device = Device::of(&plan, &Random);
    let tokens = tokens(5, WIDE.vocab);
    let expected = logits(&device, KvType::F32, &tokens, &[1; 5], 1);
    for (seed, blocks) in [(1, 132), (2, 264)] {
        let mut stepper = Stepper::new(&device, KvType::F32, 1, tokens.len(), 1).seed(seed);
        stepper.persistent = Some(blocks);
        assert_same(&format!("{blocks} blocks"), &expected, &fed(stepper, &tokens, &[1; 5]));
    }
}

/// The same code with so many blocks for a token's parts, and so many parts joined at a time: where there are more than twice
/// as many parts as blocks, a warp takes each.
fn in_pieces(code: &Source, blocks: u32, joined: u32) -> Source {
    let mut text = code.text.clone();
    for (from, to) in [
        ("ATTENTION_BLOCKS = 64;", format!("ATTENTION_BLOCKS = {blocks};")),
        ("JOINED = 32;", format!("JOINED = {joined};")),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let mut model = code.model.clone();
    let launches = model.variants.iter_mut().flat_map(|v| v.blocks.iter_mut().flatten());
    launches.filter(|l| l.grid[2].times == 64).for_each(|l| l.grid[2].times = blocks);
    Source { text, model }
}

/// Without any one of the barriers, results differ or a launch fails.
#[test]
fn no_barrier_is_for_nothing() {
    let plan = Case { dtype: DType::Bf16, activations: Activations::Default, tolerance: 0.0 }.plan(WIDE);
    let code = in_pieces(&qwenc_cuda::emit(&plan).unwrap(), 4, 3);
    let calls = [
        "__syncthreads();",
        "copy_async_wait<0>();",
        "copy_async_wait<STAGES - 2>();",
        "phases.meet(s, [&] {",
    ];
    let survivors = survivors(&plan, code, &calls, all_that_waits);
    assert!(survivors.is_empty(), "without these nothing changed: {survivors:#?}");
}
