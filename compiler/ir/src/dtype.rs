//! Element types of weights. In: a name of the text form. Out: sizes and names.
//!
//! Activations are always f32; only weights have other types. Invariant: elements are counted by rows,
//! since a row of int4 begins at a byte. A new type is a variant here, a reading in `weights.rs`, and then
//! panels and kernels in plan and backend: the compiler's errors lead there.

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
}

/// How the scales of a quantised tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScaleType {
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
}

impl ScaleType {
    /// Bytes of one scale.
    pub fn bytes(self) -> u64 {
        match self {
            ScaleType::F16 => 2,
            ScaleType::F32 => 4,
        }
    }
}

impl DType {
    /// Bytes of a row of `n` elements, scales not counted.
    pub fn bytes(self, n: u64) -> u64 {
        match self {
            DType::F32 => 4 * n,
            DType::F16 | DType::Bf16 => 2 * n,
            DType::I8 { .. } => n,
            DType::I4 { .. } => n.div_ceil(2),
        }
    }

    /// Inputs that share a scale, where there are scales.
    pub fn group(self) -> Option<u32> {
        self.quantised().map(|(group, _)| group)
    }

    /// Group size and type of the scales, where there are scales.
    pub fn quantised(self) -> Option<(u32, ScaleType)> {
        match self {
            DType::I8 { group, scales } | DType::I4 { group, scales } => Some((group, scales)),
            DType::F32 | DType::F16 | DType::Bf16 => None,
        }
    }

    /// Bytes of the scales of a row of `n` elements; 0 where there are none.
    pub fn scale_bytes(self, n: u64) -> u64 {
        self.quantised().map_or(0, |(group, scales)| scales.bytes() * n.div_ceil(u64::from(group)))
    }

    /// Bytes of a `[rows, cols]` tensor with its scales.
    pub fn matrix_bytes(self, rows: u64, cols: u64) -> u64 {
        rows * (self.bytes(cols) + self.scale_bytes(cols))
    }
}

impl DType {
    /// The type in a user's words: `int8 in groups of 64`.
    pub fn words(self) -> String {
        match self {
            DType::F32 => "f32".to_string(),
            DType::F16 => "f16".to_string(),
            DType::Bf16 => "bf16".to_string(),
            DType::I8 { group, scales: ScaleType::F32 } => format!("int8 in groups of {group}"),
            DType::I8 { group, scales: ScaleType::F16 } => {
                format!("int8 in groups of {group} with f16 scales")
            }
            DType::I4 { group, scales: ScaleType::F16 } => format!("int4 in groups of {group}"),
            DType::I4 { group, scales: ScaleType::F32 } => {
                format!("int4 in groups of {group} with f32 scales")
            }
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bits, group, scales) = match self {
            DType::F32 => return f.write_str("f32"),
            DType::F16 => return f.write_str("f16"),
            DType::Bf16 => return f.write_str("bf16"),
            DType::I8 { group, scales } => (8, group, scales),
            DType::I4 { group, scales } => (4, group, scales),
        };
        let scales = match scales {
            ScaleType::F16 => "s16",
            ScaleType::F32 => "",
        };
        write!(f, "i{bits}g{group}{scales}")
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<DType, ()> {
        match s {
            "f32" => return Ok(DType::F32),
            "f16" => return Ok(DType::F16),
            "bf16" => return Ok(DType::Bf16),
            _ => {}
        }
        let (bits, rest) = s.split_once('g').ok_or(())?;
        let (digits, scales) = match rest.strip_suffix("s16") {
            Some(digits) => (digits, ScaleType::F16),
            None => (rest, ScaleType::F32),
        };
        match (bits, digits.parse()) {
            ("i8", Ok(group)) if group > 0 => Ok(DType::I8 { group, scales }),
            ("i4", Ok(group)) if group > 0 => Ok(DType::I4 { group, scales }),
            _ => Err(()),
        }
    }
}
