//! Resources of kernels, as ptxas reports them.
//!
//! In: kernels, for every architecture that is compiled for by default. Out: a table of registers and shared
//! memory, as a snapshot. A spill fails the test.

use std::fmt::Write;

use qwenc_cuda::{emit, Gpu, DEFAULT_SMS};
use qwenc_formats::{DType, ScaleType};
use qwenc_plan::{lower, Options};

use crate::loads;
use crate::tools::{report, Assembled, Ptx, Usage};
use qwenc_testing::shapes::{graph, Shape};

/// Most bytes of a thread's arrays, which are no spilled registers: where the sine of a large angle is reduced, which most
/// kernels do in registers, and where sums of spans wait for others, 64 floats for each of at most 3 levels.
fn most_stack(kernel: &str) -> u32 {
    match kernel {
        "step_persistent" => 32,
        _ if kernel.ends_with("_many") && !kernel.contains("norm") => 3 * 64 * 4,
        _ => 0,
    }
}

/// Architectures of the tables of weight loads: two of data centres, and the newest of consumers.
const LOADS_SMS: [u32; 3] = [80, 90, 120];

/// Machine code for these architectures.
fn assembled(source: &str, sms: &[u32]) -> Vec<(u32, Assembled)> {
    let ptx = Ptx::of(source);
    sms.iter().map(|sm| (*sm, Assembled::of(&ptx, *sm))).collect()
}

/// A table with a row for each kernel: registers by architecture, bytes of static shared memory, and of a thread's arrays.
fn table(of: &[(u32, Assembled)]) -> String {
    let mut text = String::new();
    let names: String = of.iter().map(|(sm, _)| format!("{:>7}", format!("sm_{sm}"))).collect();
    writeln!(text, "{:<24}{names} shared  stack", "registers").unwrap();
    for kernel in of[0].1.usage.keys() {
        let all: Vec<(u32, Usage)> =
            of.iter().map(|(sm, assembled)| (*sm, assembled.usage[kernel])).collect();
        for (sm, used) in &all {
            assert!(used.only_stack(most_stack(kernel)), "{kernel} on sm_{sm}: {used:?}");
        }
        let registers: String = all.iter().map(|(_, used)| format!("{:>7}", used.registers)).collect();
        let stack = all.iter().map(|(_, used)| used.stack).max().unwrap_or(0);
        writeln!(text, "{kernel:<24}{registers} {:>6} {stack:>6}", all[0].1.shared).unwrap();
    }
    text
}

/// Records the registers of a model's kernels; a spill fails.
fn record(name: &str, source: &str) {
    insta::assert_snapshot!(name, table(&assembled(source, &DEFAULT_SMS)));
}

/// Records the lookahead of weight loads in a model's decode kernels.
fn record_loads(name: &str, shape: Shape, dtype: DType) {
    let all = assembled(&source(shape, dtype), &LOADS_SMS);
    insta::assert_snapshot!(format!("{name}_loads"), loads::table(&all, dtype));
}

/// Records registers, spills and the lookahead of weight loads.
fn record_with_loads(name: &str, shape: Shape, dtype: DType) {
    let mut all = assembled(&source(shape, dtype), &DEFAULT_SMS);
    insta::assert_snapshot!(name, table(&all));
    all.retain(|(sm, _)| LOADS_SMS.contains(sm));
    insta::assert_snapshot!(format!("{name}_loads"), loads::table(&all, dtype));
}

const REVERSE: &str = r#"
extern "C" __global__ void __launch_bounds__(128) reverse(float *x) {
    __shared__ float s[128];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[127 - threadIdx.x];
}
extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2.0f; }
"#;

#[test]
fn what_the_table_shows() {
    insta::assert_snapshot!(table(&assembled(REVERSE, &DEFAULT_SMS)));
}

/// The kernels of a model of this shape.
pub fn source(shape: Shape, dtype: DType) -> String {
    let plan = lower(&graph(shape, dtype), &Gpu, &Options::default()).unwrap();
    emit(&plan).unwrap().text
}

/// Shapes of Qwen3: layers, hidden, intermediate, heads, whether the head is the embedding.
fn qwen3((layers, hidden, intermediate, heads): (u32, u32, u32, u32), tied: bool) -> Shape {
    let (kv_heads, head_dim, vocab) = (8, 128, 151_936);
    Shape { layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, tied, windows: false }
}

/// The sample's shape.
pub const SAMPLE: Shape = Shape {
    layers: 4,
    hidden: 128,
    intermediate: 384,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    vocab: 2048,
    tied: true,
    windows: false,
};
const INT8: DType = DType::I8 { group: 64, scales: ScaleType::F16 };
const INT4: DType = DType::I4 { group: 32, scales: ScaleType::F16 };

#[test]
fn the_sample() {
    record("sample_bf16", &source(SAMPLE, DType::Bf16));
    record("sample_int4", &source(SAMPLE, INT4));
}

fn of_0_6b() -> Shape {
    qwen3((28, 1024, 3072, 16), true)
}

#[test]
fn bf16_of_0_6b() {
    record_with_loads("0.6b_bf16", of_0_6b(), DType::Bf16);
}

#[test]
fn int8_of_0_6b() {
    record_with_loads("0.6b_int8", of_0_6b(), INT8);
}

#[test]
fn int4_of_0_6b() {
    record_loads("0.6b_int4", of_0_6b(), INT4);
}

#[test]
fn bf16_of_1_7b() {
    record("1.7b_bf16", &source(qwen3((28, 2048, 6144, 16), true), DType::Bf16));
}

#[test]
fn bf16_of_4b() {
    record("4b_bf16", &source(qwen3((36, 2560, 9728, 32), true), DType::Bf16));
}

fn of_8b() -> Shape {
    qwen3((36, 4096, 12_288, 32), false)
}

#[test]
fn bf16_of_8b() {
    record_with_loads("8b_bf16", of_8b(), DType::Bf16);
}

#[test]
fn int8_of_8b() {
    record_with_loads("8b_int8", of_8b(), INT8);
}

#[test]
fn int4_of_8b() {
    record_loads("8b_int4", of_8b(), INT4);
}

/// The check above can fail: 96 sums in at most 40 registers.
#[test]
fn spills_are_seen() {
    let source = r#"
extern "C" __global__ void __launch_bounds__(768, 2) spills(float *x, int n) {
    // What is the same for all threads would go to registers that they share.
    x += 96 * threadIdx.x;
    float sums[96];
    #pragma unroll
    for (int i = 0; i < 96; i++) sums[i] = x[i];
    for (int k = 0; k < n; k++) {
        #pragma unroll
        for (int i = 0; i < 96; i++) sums[i] = sums[i] * sums[(i + 1) % 96] + x[k];
    }
    #pragma unroll
    for (int i = 0; i < 96; i++) x[i] = sums[i];
}
"#;
    let ptx = Ptx::of(source);
    for sm in DEFAULT_SMS {
        let used = Assembled::of(&ptx, sm).usage["spills"];
        assert!(!used.stays_in_registers() && used.spill_stores > 0 && used.spill_loads > 0, "{used:?}");
    }
}

#[test]
fn functions_that_kernels_call_are_no_kernels() {
    let words = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k1' for 'sm_90'
ptxas info    : Function properties for k1
    832 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 26 registers, used 1 barriers, 832 bytes cumulative stack size, 512 bytes smem
ptxas info    : Compile time = 23.081 ms
ptxas info    : Function properties for _Z1ff
    8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
";
    let expected = Usage { registers: 26, stack: 832, spill_stores: 4, spill_loads: 12, shared: 512 };
    assert_eq!(report(words).into_iter().collect::<Vec<_>>(), [("k1".to_string(), expected)]);
}
