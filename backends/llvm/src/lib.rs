//! A plan to a CPU object file, through LLVM.
//!
//! In: a checked plan and a CPU. Out: an [`Artifact`]: object code with the model's step function
//! and its description. Invariant: deterministic: the same plan and CPU give the same bytes.
//!
//! Every kernel accumulates one output in the same order whatever the number of rows, threads or
//! chunks, so results do not depend on them, bit for bit.

mod adapters;
mod attention;
mod attention_unit;
mod block;
mod builder;
mod cache;
mod comments;
mod cpu;
mod decoders;
mod embed;
mod emit;
mod isa;
mod kernel;
mod linear;
mod loops;
mod math;
mod model_info;
mod names;
mod prepare;
mod qkv;
mod schedule;
mod softmax;
mod spans;
mod step;
mod swiglu;
mod tile;
mod tile_float;
mod tile_int;
mod vectors;

pub use cpu::{Cpu, CpuError};
pub use emit::{emit, emit_asm, emit_entry, emit_ir, Artifact, EmitError, Entry};
pub use isa::x86::Vnni;
pub use schedule::ATTENTION_PART;
