//! Generated code against the interpreter: odd shapes, all weight types, all CPU levels that this
//! machine can run, several threads and chunkings.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::ffi::c_void;
use std::process::Command;
use std::sync::Barrier;

use qwenc_abi::{ModelInfo, Row, StepArgs};
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::{parse, verify, Checked, DType, Graph, Scales, Tensor, WeightDecl, WeightError, WeightSource};
use qwenc_llvm::{emit, Cpu};
use qwenc_plan::{lower, pack, Options, Plan};

/// Sizes of a test model.
#[derive(Clone, Copy)]
struct Shape {
    layers: u32,
    hidden: u32,
    intermediate: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    tied: bool,
    windows: bool,
}

const ODD: Shape = Shape {
    layers: 2,
    hidden: 96,
    intermediate: 160,
    heads: 4,
    kv_heads: 2,
    head_dim: 48,
    vocab: 301,
    tied: true,
    windows: false,
};
/// Nothing is a multiple of anything.
const ODDER: Shape = Shape {
    layers: 3,
    hidden: 70,
    intermediate: 37,
    heads: 3,
    kv_heads: 1,
    head_dim: 22,
    vocab: 67,
    tied: false,
    windows: true,
};

/// The optimised form of a Qwen3 block, as text.
fn graph(s: Shape, dtype: DType) -> Checked<Graph> {
    let Shape { layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, tied, windows } = s;
    let (q, kv) = (heads * head_dim, kv_heads * head_dim);
    let (qkv, gate_up) = (q + 2 * kv, 2 * intermediate);
    let windows = match windows {
        true => format!("windows -{}\n", " 5".repeat(layers as usize - 1)),
        false => String::new(),
    };
    let head = if tied { 0 } else { 13 };
    let untied = match tied {
        true => String::new(),
        false => format!("weight @13 \"lm_head\" {dtype}[{vocab}, {hidden}]\n"),
    };
    let text = format!(
        "graph \"test\"
dims layers={layers} hidden={hidden} intermediate={intermediate} heads={heads} kv_heads={kv_heads} head_dim={head_dim} vocab_rows={vocab} context=128
rope theta=10000
{windows}weight @0 \"embed\" {dtype}[{vocab}, {hidden}]
weight @1 \"*.g1\" f32[{hidden}]
weight @2 \"*.q\" {dtype}[{q}, {hidden}]
weight @3 \"*.k\" {dtype}[{kv}, {hidden}]
weight @4 \"*.v\" {dtype}[{kv}, {hidden}]
weight @5 \"*.qn\" f32[{head_dim}]
weight @6 \"*.kn\" f32[{head_dim}]
weight @7 \"*.o\" {dtype}[{hidden}, {q}]
weight @8 \"*.g2\" f32[{hidden}]
weight @9 \"*.gate\" {dtype}[{intermediate}, {hidden}]
weight @10 \"*.up\" {dtype}[{intermediate}, {hidden}]
weight @11 \"*.down\" {dtype}[{hidden}, {intermediate}]
weight @12 \"gf\" f32[{hidden}]
{untied}prologue {{
  %0 = weight @0 : {dtype}[{vocab}, {hidden}]
  %1 = embed %0 : [T, {hidden}]
  return %1
}}
repeat {layers} {{
  %0 = input : [T, {hidden}]
  %1 = weight @2 : {dtype}[{q}, {hidden}]
  %2 = weight @3 : {dtype}[{kv}, {hidden}]
  %3 = weight @4 : {dtype}[{kv}, {hidden}]
  %4 = concat_rows %2 %3 : {dtype}[{}, {hidden}]
  %5 = concat_rows %1 %4 : {dtype}[{qkv}, {hidden}]
  %6 = weight @1 : f32[{hidden}]
  %7 = scale_cols %5 %6 : {dtype}[{qkv}, {hidden}]
  %8 = absent : f32[]
  %9 = norm_linear eps=1e-6 %0 %7 %8 : [T, {qkv}]
  %10 = weight @5 : f32[{head_dim}]
  %11 = weight @6 : f32[{head_dim}]
  %12 = prepare_qkv eps=1e-6 %9 %10 %11 : [T, {qkv}]
  %13 = prepared_attention %12 : [T, {q}]
  %14 = weight @7 : {dtype}[{hidden}, {q}]
  %15 = linear_add %13 %14 %8 %0 : [T, {hidden}]
  %16 = weight @9 : {dtype}[{intermediate}, {hidden}]
  %17 = weight @10 : {dtype}[{intermediate}, {hidden}]
  %18 = concat_rows %16 %17 : {dtype}[{gate_up}, {hidden}]
  %19 = weight @8 : f32[{hidden}]
  %20 = scale_cols %18 %19 : {dtype}[{gate_up}, {hidden}]
  %21 = norm_swiglu eps=1e-6 %15 %20 %8 : [T, {intermediate}]
  %22 = weight @11 : {dtype}[{hidden}, {intermediate}]
  %23 = linear_add %21 %22 %8 %15 : [T, {hidden}]
  return %23
}}
head {{
  %0 = input : [T, {hidden}]
  %1 = weight @{head} : {dtype}[{vocab}, {hidden}]
  %2 = weight @12 : f32[{hidden}]
  %3 = scale_cols %1 %2 : {dtype}[{vocab}, {hidden}]
  %4 = norm_lm_head eps=1e-6 %0 %3 : [T, {vocab}]
  return %4
}}
",
        2 * kv
    );
    verify(parse(&text).unwrap()).unwrap()
}

/// Random non-zero weights from the tensor's name; one group of an int8 tensor is all zeros.
struct Random;

fn noise(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    ((*seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0
}

impl WeightSource for Random {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<Tensor<'_>, WeightError> {
        let name = decl.tensor_name(layer);
        let mut seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let (rows, cols) = match decl.shape[..] {
            [n] => (1, n as usize),
            _ => (decl.shape[0] as usize, decl.shape[1] as usize),
        };
        let gain = if rows == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..rows * cols).map(|_| gain + 0.25 * noise(&mut seed)).collect();
        let (data, scales) = match decl.dtype {
            DType::F32 => (values.iter().flat_map(|v| v.to_le_bytes()).collect(), None),
            DType::Bf16 => {
                (values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(), None)
            }
            DType::I8 { group } => {
                let groups = rows * cols.div_ceil(group as usize);
                let scale = |g: usize| if g == 1 { 0.0f32 } else { 0.002 + 0.001 * g as f32 / groups as f32 };
                let scales: Vec<u8> = (0..groups).flat_map(|g| scale(g).to_le_bytes()).collect();
                let q = values.iter().map(|v| (v * 4.0 * 127.0).round() as i8 as u8).collect();
                (q, Some(Scales::F32(Cow::Owned(scales))))
            }
            DType::F16 => unreachable!("no kernel reads f16"),
        };
        Tensor::new(&name, decl.dtype, (rows, cols), Cow::Owned(data), scales)
    }
}

/// Generated code, linked and loaded.
struct Loaded {
    _library: libloading::Library,
    info: *const ModelInfo,
    weights: Vec<u64>,
}

unsafe impl Send for Loaded {}
unsafe impl Sync for Loaded {}

impl Loaded {
    fn of(plan: &Checked<Plan>, cpu: &str) -> Loaded {
        let artifact = emit(plan, &Cpu::named(cpu).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (object, library) = (folder.path().join("model.o"), folder.path().join("model.so"));
        std::fs::write(&object, artifact.object).unwrap();
        let status = Command::new("cc").arg("-shared").arg(&object).arg("-o").arg(&library).status().unwrap();
        assert!(status.success());
        // SAFETY: the library has no initialisers.
        let library = unsafe { libloading::Library::new(&library) }.unwrap();
        let info: *const ModelInfo = *unsafe { library.get(b"qwenc_model") }.unwrap();
        let mut image = Vec::new();
        pack(plan, &Random, &mut image, &mut |_| {}).unwrap();
        assert_eq!(image.len() as u64, plan.weights_bytes);
        let mut weights = aligned(image.len());
        bytes_of(&mut weights)[..image.len()].copy_from_slice(&image);
        Loaded { _library: library, info, weights }
    }

    /// Logits of every token, fed in the given chunks by the given number of threads.
    fn logits(&self, tokens: &[u32], chunks: &[usize], threads: usize) -> Vec<f32> {
        let info = unsafe { &*self.info };
        assert_eq!(info.abi_version, qwenc_abi::ABI_VERSION);
        let max_rows = *chunks.iter().max().unwrap() as u64;
        let capacity = (tokens.len() as u64).next_multiple_of(16);
        let mut kv = aligned((capacity * info.kv_bytes_per_position) as usize);
        let mut arena = aligned(info.arena_bytes(max_rows, threads as u64) as usize);
        // Stale memory must not matter.
        bytes_of(&mut arena)[info.arena_counters as usize * threads..].fill(0xFF);
        let mut logits = aligned(4 * max_rows as usize * info.logits_stride as usize);
        let (mut out, mut at) = (Vec::new(), 0);
        for &n in chunks {
            let kv = bytes_of(&mut kv).as_mut_ptr();
            let row = |i: usize| Row { token: tokens[at + i] as i32, position: (at + i) as u32, kv };
            let rows: Vec<Row> = (0..n).map(row).collect();
            let outputs: Vec<u32> = (0..n as u32).collect();
            let barrier = Barrier::new(threads);
            let args = StepArgs {
                weights: self.weights_start(),
                arena: bytes_of(&mut arena).as_mut_ptr(),
                rows: rows.as_ptr(),
                n_rows: n as u64,
                outputs: outputs.as_ptr(),
                n_outputs: n as u64,
                logits: bytes_of(&mut logits).as_mut_ptr().cast(),
                kv_capacity: capacity,
                max_rows,
                threads: threads as u64,
                barrier: wait,
                barrier_data: std::ptr::from_ref(&barrier).cast_mut().cast(),
            };
            let shared = Shared(&args);
            std::thread::scope(|s| {
                for thread in 0..threads as u64 {
                    let shared = &shared;
                    s.spawn(move || unsafe { (info.step)(shared.get(), thread) });
                }
            });
            let floats = bytes_of(&mut logits).as_ptr().cast::<f32>();
            for t in 0..n {
                let line = t * info.logits_stride as usize;
                out.extend((0..info.vocab_rows as usize).map(|v| unsafe { *floats.add(line + v) }));
            }
            at += n;
        }
        assert_eq!(at, tokens.len());
        out
    }

    fn weights_start(&self) -> *const u8 {
        let start = self.weights.as_ptr() as usize;
        (start.next_multiple_of(64)) as *const u8
    }
}

struct Shared(*const StepArgs);
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *const StepArgs {
        self.0
    }
}

extern "C" fn wait(barrier: *mut c_void) {
    unsafe { &*barrier.cast::<Barrier>() }.wait();
}

/// Room for `bytes` after aligning to 64.
fn aligned(bytes: usize) -> Vec<u64> {
    vec![0; bytes / 8 + 9]
}

fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    let start = words.as_ptr() as usize;
    let skip = start.next_multiple_of(64) - start;
    let len = words.len() * 8 - skip;
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>().add(skip), len) }
}

/// Squared error over squared size.
fn nmse(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    error / expected.iter().map(|b| b * b).sum::<f64>()
}

fn tokens(n: usize, vocab: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 7919 + 13) % vocab).collect()
}

/// CPU levels that this machine runs.
fn cpus() -> Vec<&'static str> {
    let native = Cpu::named("native").unwrap();
    let runs = |name: &&str| Cpu::named(name).unwrap().features().iter().all(|f| native.has(f));
    let all = ["x86-64", "x86-64-v3", "alderlake", "x86-64-v4", "icelake-server"];
    all.into_iter().filter(runs).collect()
}

/// Against the interpreter in f64, and bit-identical over chunks and threads.
fn check(shape: Shape, dtype: DType, tolerance: f64) {
    let graph = graph(shape, dtype);
    let plan = lower(&graph, &Options::default()).unwrap();
    let tokens = tokens(37, shape.vocab);
    let mut interpreter = Interpreter::new(&graph, &Random, Precision::F64);
    let expected = interpreter.step(&tokens, &mut |_, _| {}).unwrap().data;
    for cpu in cpus() {
        let loaded = Loaded::of(&plan, cpu);
        let one_by_one = loaded.logits(&tokens, &[1; 37], 1);
        let error = nmse(&one_by_one, &expected);
        println!("{cpu} {dtype}: NMSE {error:.2e}");
        assert!(error <= tolerance, "{cpu} {dtype}: NMSE {error:.2e} > {tolerance:.0e}");
        let ways: [(&[usize], usize); 4] = [(&[37], 1), (&[37], 3), (&[1, 2, 7, 13, 14], 2), (&[16, 21], 5)];
        for (chunks, threads) in ways {
            let other = loaded.logits(&tokens, chunks, threads);
            let differs = one_by_one.iter().zip(&other).position(|(a, b)| a.to_bits() != b.to_bits());
            let at = differs.map(|i| (i, one_by_one[i], other[i]));
            assert_eq!(at, None, "{cpu} {dtype}: {threads} threads, chunks {chunks:?}");
        }
    }
}

#[test]
fn f32_weights() {
    check(ODD, DType::F32, 1e-11);
    check(ODDER, DType::F32, 1e-11);
}

#[test]
fn bf16_weights() {
    check(ODD, DType::Bf16, 1e-11);
    check(ODDER, DType::Bf16, 1e-11);
}

#[test]
fn int8_weights() {
    for group in [64, 32, 7] {
        // The interpreter has the same weights, so this is the inputs' quantisation alone.
        check(ODD, DType::I8 { group }, 1e-7);
        check(ODDER, DType::I8 { group }, 1e-7);
    }
}
