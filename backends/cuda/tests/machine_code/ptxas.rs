//! What kernels use of a GPU, by ptxas's word.
//!
//! In: kernels, for every architecture that is compiled for by default. Out: a table of registers and shared
//! memory, as a snapshot. A spill fails the test.

use std::fmt::Write;

use qwenc_cuda::DEFAULT_SMS;

use crate::tools::{report, usage, Usage};

/// A table with a row for each kernel: registers by architecture, and bytes of static shared memory.
fn table(source: &str) -> String {
    let of = DEFAULT_SMS.map(|sm| usage(source, sm));
    let mut text = String::new();
    let names = DEFAULT_SMS.map(|sm| format!("{:>7}", format!("sm_{sm}"))).concat();
    writeln!(text, "{:<24}{names} shared", "registers").unwrap();
    for kernel in of[0].keys() {
        let all = of.each_ref().map(|kernels| kernels[kernel]);
        for (used, sm) in all.iter().zip(DEFAULT_SMS) {
            assert!(used.stays_in_registers(), "{kernel} on sm_{sm}: {used:?}");
        }
        let registers = all.map(|used| format!("{:>7}", used.registers)).concat();
        writeln!(text, "{kernel:<24}{registers} {:>6}", all[0].shared).unwrap();
    }
    text
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
fn kernels_stay_in_registers() {
    insta::assert_snapshot!(table(REVERSE));
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
    for sm in DEFAULT_SMS {
        let used = usage(source, sm)["spills"];
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
