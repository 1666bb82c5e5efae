//! Element types of weights. In: a name of the text form. Out: sizes and names.
//!
//! Activations are always f32; only weights have other types. A new type is a variant here, a reading in
//! `weights.rs`, and then panels and kernels in plan and backend: the compiler's errors lead there.

use std::fmt;
use std::str::FromStr;

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16; only in checkpoints, never in a plan.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Signed 8-bit integers with one scale per `group` consecutive inputs of a row.
    I8 {
        /// Inputs that share a scale; the last group of a row may be shorter.
        group: u32,
    },
}

impl DType {
    /// Bytes of `n` consecutive elements, scales not counted.
    pub fn bytes(self, n: u64) -> u64 {
        match self {
            DType::F32 => 4 * n,
            DType::F16 | DType::Bf16 => 2 * n,
            DType::I8 { .. } => n,
        }
    }

    /// Bytes of a `[rows, cols]` tensor with its scales as f32.
    pub fn matrix_bytes(self, rows: u64, cols: u64) -> u64 {
        let scales = match self {
            DType::I8 { group } => 4 * rows * cols.div_ceil(u64::from(group)),
            _ => 0,
        };
        self.bytes(rows * cols) + scales
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DType::F32 => f.write_str("f32"),
            DType::F16 => f.write_str("f16"),
            DType::Bf16 => f.write_str("bf16"),
            DType::I8 { group } => write!(f, "i8g{group}"),
        }
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<DType, ()> {
        match s {
            "f32" => Ok(DType::F32),
            "f16" => Ok(DType::F16),
            "bf16" => Ok(DType::Bf16),
            _ => match s.strip_prefix("i8g").and_then(|g| g.parse().ok()) {
                Some(group) if group > 0 => Ok(DType::I8 { group }),
                _ => Err(()),
            },
        }
    }
}
