//! The stand-in for CUDA, held to what CUDA promises. In: small kernels, right ones and wrong ones. Out: right
//! ones are right under every seed; wrong ones are wrong, or reported with the place where they are.
//!
//! Invariant: whatever the tests of generated kernels rely on this to find, a test here plants.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod driver;
mod faults;
mod order;
mod words;

use std::sync::OnceLock;

use qwenc_abi::CudaStep;
use qwenc_tests::host_cuda::{load, Kernels, Memory, Shape};

/// The kernels of kernels.cu.
const SOURCE: &str = include_str!("kernels.cu");

fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| load(SOURCE))
}

fn shape(blocks: u32, threads: u32, shared_bytes: u32) -> Shape {
    Shape { grid: [blocks, 1, 1], threads, shared_bytes, is_cooperative: false, is_early: false }
}

/// Runs a kernel that reads `input` and writes `outputs` words, which start as zero.
fn words(name: &str, input: &[u32], outputs: usize, shape: Shape, seed: u64) -> Result<Vec<u32>, String> {
    let (input, output) = (Memory::of(input), Memory::of(&vec![0u32; outputs]));
    let (scratch, counters) = (Memory::of(&[0u32; 4096]), Memory::of(&[0u32; 64]));
    let step = CudaStep {
        weights: input.address(),
        arena: scratch.address(),
        logits: output.address(),
        counters: counters.address(),
        ..Default::default()
    };
    kernels().launch(name, &step, shape, seed)?;
    Ok(output.to_vec())
}

/// Words of no pattern.
fn random(count: usize, seed: u64) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    (0..count).map(next).collect()
}
