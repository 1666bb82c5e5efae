//! Registry of the weight formats. In: a format, or its name. Out: its entry.
//!
//! Invariant: a format is a variant and a line of each function here; all else is in its own file. Backends have a list of
//! the [`Operand`]s that they read, each with a decoder.

use std::fmt;
use std::str::FromStr;

use crate::bf12::Bf12;
use crate::bf16::Bf16;
use crate::f16::F16;
use crate::f32::F32;
use crate::int4::Int4;
use crate::int8::Int8;
use crate::operand::Packed;
use crate::q4_1::Q4_1;
use crate::q4_k::Q4K;
use crate::q5_k::Q5K;
use crate::q6_k::Q6K;
use crate::scales::ScaleType;
use crate::storage::Storage;

/// Storage format: how a file keeps the elements of a tensor.
///
/// Activations are always f32; only weights have other types. Elements are counted by rows, since a row of int4 begins at
/// a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Signed 8-bit integers with one scale per `group` consecutive inputs of a row.
    I8 {
        /// Inputs that share a scale; the last group of a row may be shorter.
        group: u32,
        /// Type of the scales.
        scales: ScaleType,
    },
    /// Integers -8 to 7, each stored as `q + 8` in four bits, with one scale per `group` consecutive inputs
    /// of a row. Two share a byte, the even input in the low half; an odd row's last high half is unused.
    I4 {
        /// Inputs that share a scale; the last group of a row may be shorter.
        group: u32,
        /// Type of the scales.
        scales: ScaleType,
    },
    /// GGUF's Q4_1: 4 bits, a scale and a minimum per 32.
    Q4_1,
    /// GGUF's Q4_K: 4 bits, scales and minima of 6 bits per 32.
    Q4K,
    /// GGUF's Q5_K: 5 bits, scales and minima of 6 bits per 32.
    Q5K,
    /// GGUF's Q6_K: 6 bits, scales of 8 bits per 16.
    Q6K,
}

/// Operand format: how a kernel reads a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operand {
    /// f32.
    F32,
    /// f16.
    F16,
    /// bf16, two neighbouring inputs side by side.
    Bf16,
    /// bf16 compressed to 12 bits without loss.
    Bf12,
    /// 8-bit integers; see [`DType::I8`].
    I8 {
        /// Inputs that share a scale.
        group: u32,
        /// Type of the scales.
        scales: ScaleType,
    },
    /// 4-bit integers; see [`DType::I4`].
    I4 {
        /// Inputs that share a scale.
        group: u32,
        /// Type of the scales.
        scales: ScaleType,
    },
    /// GGUF's Q4_K; see [`DType::Q4K`].
    Q4K,
    /// GGUF's Q6_K; see [`DType::Q6K`].
    Q6K,
}

/// Storage formats without parameters.
const PLAIN: [DType; 7] =
    [DType::F32, DType::F16, DType::Bf16, DType::Q4_1, DType::Q4K, DType::Q5K, DType::Q6K];

impl DType {
    /// Calls `look` with the registry entry of this format.
    pub(crate) fn entry<R>(self, look: impl FnOnce(&dyn Storage) -> R) -> R {
        match self {
            DType::F32 => look(&F32),
            DType::F16 => look(&F16),
            DType::Bf16 => look(&Bf16),
            DType::I8 { group, scales } => look(&Int8 { group, scales }),
            DType::I4 { group, scales } => look(&Int4 { group, scales }),
            DType::Q4_1 => look(&Q4_1),
            DType::Q4K => look(&Q4K),
            DType::Q5K => look(&Q5K),
            DType::Q6K => look(&Q6K),
        }
    }
}

impl Operand {
    /// Calls `look` with the registry entry of this format.
    pub(crate) fn entry<R>(self, look: impl FnOnce(&dyn Packed) -> R) -> R {
        match self {
            Operand::F32 => look(&F32),
            Operand::F16 => look(&F16),
            Operand::Bf16 => look(&Bf16),
            Operand::Bf12 => look(&Bf12),
            Operand::I8 { group, scales } => look(&Int8 { group, scales }),
            Operand::I4 { group, scales } => look(&Int4 { group, scales }),
            Operand::Q4K => look(&Q4K),
            Operand::Q6K => look(&Q6K),
        }
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<DType, ()> {
        let one = PLAIN.into_iter().find(|format| format.to_string() == s);
        one.or_else(|| Int8::parse(s)).or_else(|| Int4::parse(s)).ok_or(())
    }
}

impl FromStr for Operand {
    type Err = ();

    fn from_str(s: &str) -> Result<Operand, ()> {
        if s == Operand::Bf12.to_string() {
            return Ok(Operand::Bf12);
        }
        s.parse::<DType>()?.operand().ok_or(())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entry(|e| e.name()))
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entry(|e| e.name()))
    }
}
