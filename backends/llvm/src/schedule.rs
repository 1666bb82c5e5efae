//! A CPU's schedule: memory of a step that depends on its threads, and not on the model alone.
//!
//! In: a plan. Out: bytes of counters and scratch memory per thread, and of a linear's scratch memory per row, which the plan
//! places. Invariant: scratch memory of a thread is one kernel's at a time.
//!
//! The arena is, in this order: the counters of each thread, the plan's rows, the scratch memory of each thread.

use qwenc_formats::{Inputs, Operand, LANES};
use qwenc_ir::Dims;
use qwenc_plan::{round_up, Kernel, Linear, Plan};
use qwenc_target::{Limit, LinearShape, Target};

use crate::cpu::Cpu;

/// Positions of a part of attention; a sequence's attention is cut at its multiples.
pub const ATTENTION_PART: u64 = 1024;
/// Most queries that a thread takes over one part before it goes on to the next.
pub(crate) const QUERIES: u64 = 128;

/// Up to here weights are read from memory for so few tokens that streaming them is all that counts.
pub(crate) const FEW_TOKENS: u64 = 16;

const ALIGN: u64 = 128;

/// Bytes of a thread's counters, which count its share of each kernel's work as it is taken: a cache line per kernel.
pub(crate) fn counter_bytes(plan: &Plan) -> u64 {
    64 * (plan.kernels().count() as u64).next_multiple_of(2)
}

/// Bytes of a thread's scratch memory: those of the kernel that needs the most.
pub(crate) fn thread_bytes(plan: &Plan) -> u64 {
    let of = |kernel: &Kernel| match kernel {
        Kernel::Linear(l) => prepared_bytes(&shape(plan, l)),
        Kernel::Attention(_) => parts_bytes(&plan.dims),
        Kernel::Embed(_) | Kernel::PrepareQkv(_) | Kernel::SelectAdapter(_) | Kernel::Swiglu(_) => 0,
    };
    plan.kernels().map(|(_, kernel)| of(kernel)).max().unwrap_or(0)
}

/// Bytes of a row of prepared inputs (normalised, rounded or quantised); 0 where rows are read as they are.
pub(crate) fn prepared_bytes(linear: &LinearShape) -> u64 {
    match linear.norm || linear.inputs != Inputs::F32 {
        true => round_up(linear.inputs.row_bytes(linear.format, linear.cols), ALIGN),
        false => 0,
    }
}

/// A linear of a plan, as targets are asked about it.
pub(crate) fn shape(plan: &Plan, l: &Linear) -> LinearShape {
    let weight = plan.segment(l.weight);
    LinearShape { format: weight.format, cols: weight.cols, inputs: l.inputs, norm: l.norm.is_some() }
}

/// Bytes of the record of a part of attention: a maximum, sums, and weighted values.
pub(crate) fn part_bytes(dims: &Dims) -> u64 {
    128 + 4 * round_up(u64::from(dims.head_dim), u64::from(LANES))
}

/// Bytes of a thread's records of attention. Where threads share out one token's positions, the first thread has results
/// over parts of them, `[H][parts of the context]`; otherwise each has what the queries that it takes together have so far,
/// `[QUERIES]`.
fn parts_bytes(dims: &Dims) -> u64 {
    let parts = u64::from(dims.heads) * u64::from(dims.context).div_ceil(ATTENTION_PART);
    round_up(parts.max(QUERIES) * part_bytes(dims), ALIGN)
}

impl Target for Cpu {
    fn reads(&self, format: Operand) -> bool {
        Cpu::reads(self, format)
    }

    fn check(&self, _: &Dims) -> Result<(), Limit> {
        Ok(())
    }

    /// A step of several rows prepares each once, for all threads.
    fn scratch_row_bytes(&self, linear: &LinearShape) -> u64 {
        prepared_bytes(linear)
    }
}
