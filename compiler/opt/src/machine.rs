//! What a machine is good at, and what a graph asks of it.
//!
//! In: bytes, operations and launches of a graph. Out: an estimated time. Invariant: time is whole
//! picoseconds, so that sums do not depend on their order and equal costs compare equal. Only the ratios
//! of a machine's numbers decide anything.

use std::fmt;
use std::ops::{Add, AddAssign, Mul};

/// Cost parameters of a target: sustained rates with all its cores, not peaks of a data sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// For the report.
    pub name: String,
    /// Memory traffic, GB/s.
    pub read_gb_s: f64,
    /// Multiply or add of f32 values, 1e9 per second.
    pub f32_gflops: f64,
    /// Multiply or add of int8 values in dot products, 1e9 per second.
    pub int8_gops: f64,
    /// From the end of one kernel to the start of the next on all cores, µs.
    pub barrier_us: f64,
}

impl Machine {
    /// A desktop CPU with AVX2 and two channels of memory. The order of alternatives hardly depends on
    /// the numbers: fewer bytes and fewer launches win on every CPU.
    pub fn cpu_default() -> Machine {
        Machine {
            name: "cpu".to_string(),
            read_gb_s: 40.0,
            f32_gflops: 400.0,
            int8_gops: 1600.0,
            barrier_us: 2.0,
        }
    }

    /// Estimated time of this work: traffic, arithmetic and barriers one after another.
    pub fn picoseconds(&self, work: &Work) -> u64 {
        // 1e9 per second is one in 1000 ps.
        let at = |amount: u64, giga_per_s: f64| amount as f64 * 1e3 / giga_per_s;
        let time = at(work.bytes, self.read_gb_s)
            + at(work.f32_ops, self.f32_gflops)
            + at(work.int8_ops, self.int8_gops)
            + work.launches as f64 * self.barrier_us * 1e6;
        // Saturates: a rate of 0 gives the longest time there is.
        time as u64
    }

    /// The same in microseconds.
    pub fn us(&self, work: &Work) -> f64 {
        self.picoseconds(work) as f64 / 1e6
    }
}

/// What a graph asks of a machine for one token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Read from and written to memory.
    pub bytes: u64,
    /// Multiplications and additions of f32 values.
    pub f32_ops: u64,
    /// Multiplications and additions of int8 values.
    pub int8_ops: u64,
    /// Kernels started.
    pub launches: u64,
}

impl Add for Work {
    type Output = Work;

    fn add(self, other: Work) -> Work {
        Work {
            bytes: self.bytes + other.bytes,
            f32_ops: self.f32_ops + other.f32_ops,
            int8_ops: self.int8_ops + other.int8_ops,
            launches: self.launches + other.launches,
        }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        *self = *self + other;
    }
}

impl Mul<u32> for Work {
    type Output = Work;

    fn mul(self, times: u32) -> Work {
        let n = u64::from(times);
        Work {
            bytes: self.bytes * n,
            f32_ops: self.f32_ops * n,
            int8_ops: self.int8_ops * n,
            launches: self.launches * n,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} f32 ops", self.bytes, self.f32_ops)?;
        if self.int8_ops > 0 {
            write!(f, ", {} int8 ops", self.int8_ops)?;
        }
        write!(f, ", {} launches", self.launches)
    }
}
