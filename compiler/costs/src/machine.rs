//! Machine: sustained rates, and the time that work takes at them; `cpu.rs` and `gpu.rs` have the tables.
//!
//! In: rates, [`Work`]. Out: an estimated time. Invariant: the rates are a table, so the same input gives the same choice
//! and the same prediction anywhere; the time of a choice is whole picoseconds, so that sums do not depend on their order
//! and equal costs compare equal. Only the ratios of a machine's numbers decide anything.

use std::fmt;

use crate::work::Work;

/// Kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// Threads that meet at a barrier.
    Cpu,
    /// Kernels launched one after another.
    Gpu,
}

/// Cost parameters of a target: sustained rates with all its cores, not peaks of a data sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The CPU or architecture it was asked for by.
    pub name: String,
    /// CPU or GPU.
    pub processor: Processor,
    /// The row of the table, and where its numbers come from.
    pub class: &'static str,
    /// Physical cores, each with one thread; of a GPU its multiprocessors.
    pub cores: u32,
    /// Memory traffic, GB/s.
    pub read_gb_s: f64,
    /// Multiply or add of f32 values, 1e9 per second.
    pub f32_gflops: f64,
    /// Multiply or add of bf16 values in dot products, 1e9 per second.
    pub bf16_gflops: f64,
    /// Multiply or add of int8 values in dot products, 1e9 per second.
    pub int8_gops: f64,
    /// From the end of one kernel to the start of the next on all cores, µs; on a GPU a launch.
    pub barrier_us: f64,
}

impl Machine {
    /// Estimated time of this work for a choice: traffic, arithmetic and barriers one after another, activations counted as
    /// if they were in memory. Less of anything must be better: were it the larger of traffic and arithmetic, less of the
    /// smaller would be worth nothing, and an intermediate result in a cache would be free.
    pub fn picoseconds(&self, work: &Work) -> u64 {
        let traffic = at(work.bytes + work.activation_bytes, self.read_gb_s);
        let time = traffic + self.arithmetic_ps(work) + self.barriers_ps(work);
        // Saturates: a rate of 0 gives the longest time there is.
        time as u64
    }

    /// The same in microseconds.
    pub fn us(&self, work: &Work) -> f64 {
        self.picoseconds(work) as f64 / 1e6
    }

    /// Predicted time of one kernel, µs: reads from memory and arithmetic overlap, activations are in caches, then the
    /// threads meet. That is what kernels do, so these times are compared with what is measured.
    pub fn kernel_us(&self, work: &Work) -> f64 {
        (at(work.bytes, self.read_gb_s).max(self.arithmetic_ps(work)) + self.barriers_ps(work)) / 1e6
    }

    /// Predicted time of the arithmetic alone, µs.
    pub fn arithmetic_us(&self, work: &Work) -> f64 {
        self.arithmetic_ps(work) / 1e6
    }

    fn arithmetic_ps(&self, work: &Work) -> f64 {
        at(work.f32_ops, self.f32_gflops)
            + at(work.bf16_ops, self.bf16_gflops)
            + at(work.int8_ops, self.int8_gops)
    }

    fn barriers_ps(&self, work: &Work) -> f64 {
        work.launches as f64 * self.barrier_us * 1e6
    }
}

/// Picoseconds: 1e9 per second is one in 1000 ps.
fn at(amount: u64, giga_per_s: f64) -> f64 {
    amount as f64 * 1e3 / giga_per_s
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, pause) = match self.processor {
            Processor::Cpu => ("core", "barrier"),
            Processor::Gpu => ("multiprocessor", "launch"),
        };
        let cores = format!("{} {unit}{}", self.cores, if self.cores == 1 { "" } else { "s" });
        write!(f, "{}, {cores} ({}): {:.1} GB/s, ", self.name, self.class, self.read_gb_s)?;
        write!(f, "{:.0} f32 and {:.0} bf16 GFLOPS, ", self.f32_gflops, self.bf16_gflops)?;
        write!(f, "{:.0} int8 GOPS, {} us per {pause}", self.int8_gops, self.barrier_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_and_arithmetic_overlap_in_a_prediction_only() {
        let machine =
            Machine { read_gb_s: 1.0, f32_gflops: 2.0, barrier_us: 1.0, ..Machine::of_cpu("x", &[], 1) };
        let work = Work { bytes: 3000, f32_ops: 8000, launches: 1, ..Work::default() };
        assert_eq!(machine.kernel_us(&work), 1.0 + 4.0);
        assert_eq!(machine.us(&work), 1.0 + 4.0 + 3.0);
        assert_eq!(machine.kernel_us(&Work { bytes: 5000, ..work }), 1.0 + 5.0);
        assert_eq!(machine.arithmetic_us(&work), 4.0);
        let more = Work { activation_bytes: 2000, ..work };
        assert_eq!((machine.kernel_us(&more), machine.us(&more)), (1.0 + 4.0, 1.0 + 4.0 + 5.0));
    }
}
