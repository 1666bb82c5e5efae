//! Work: bytes, operations and launches.
//!
//! In: bytes, operations and launches. Out: their sums. Invariant: whole numbers, so that sums do not depend on their
//! order.

use std::fmt;
use std::ops::{Add, AddAssign, Mul};

/// Work of a kernel, or of many, for a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Weights, and cached keys and values, read from memory.
    pub bytes: u64,
    /// Vectors, inputs and results, read and written; caches hold them.
    pub activation_bytes: u64,
    /// Multiplications and additions of f32 values.
    pub f32_ops: u64,
    /// Multiplications and additions of bf16 values.
    pub bf16_ops: u64,
    /// Multiplications and additions of int8 values.
    pub int8_ops: u64,
    /// Kernels started.
    pub launches: u64,
}

impl Work {
    /// Operations of every kind.
    pub fn ops(&self) -> u64 {
        self.f32_ops + self.bf16_ops + self.int8_ops
    }

    fn map(self, change: impl Fn(u64) -> u64) -> Work {
        Work {
            bytes: change(self.bytes),
            activation_bytes: change(self.activation_bytes),
            f32_ops: change(self.f32_ops),
            bf16_ops: change(self.bf16_ops),
            int8_ops: change(self.int8_ops),
            launches: change(self.launches),
        }
    }

    /// Mean over this many tokens, rounded down.
    pub fn per_token(self, tokens: u64) -> Work {
        self.map(|n| n / tokens.max(1))
    }
}

impl Add for Work {
    type Output = Work;

    fn add(self, other: Work) -> Work {
        Work {
            bytes: self.bytes + other.bytes,
            activation_bytes: self.activation_bytes + other.activation_bytes,
            f32_ops: self.f32_ops + other.f32_ops,
            bf16_ops: self.bf16_ops + other.bf16_ops,
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
        self.map(|n| n * u64::from(times))
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes and {} of activations, {} f32 ops",
            self.bytes, self.activation_bytes, self.f32_ops
        )?;
        if self.bf16_ops > 0 {
            write!(f, ", {} bf16 ops", self.bf16_ops)?;
        }
        if self.int8_ops > 0 {
            write!(f, ", {} int8 ops", self.int8_ops)?;
        }
        write!(f, ", {} launches", self.launches)
    }
}
