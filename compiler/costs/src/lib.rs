//! Cost model: work of kernels, rates of machines, and the time that follows.
//!
//! In: a kernel's shapes and formats, the [`Load`] that it runs for; the name, features and cores of a CPU, or a GPU's
//! architecture. Out: the kernel's [`Work`], and the time that a [`Machine`] takes for it. Invariant: this is the one
//! place that counts bytes and operations; the choice among graphs and the prediction of a plan's speed both describe
//! kernels as [`Linear`], [`Heads`] and [`elementwise`], and so count the same.

mod cpu;
mod gpu;
mod kernels;
mod load;
mod machine;
mod work;

pub use cpu::ASSUMED_CORES;
pub use kernels::{elementwise, Elementwise, Heads, Linear};
pub use load::Load;
pub use machine::{Machine, Processor};
pub use work::Work;
