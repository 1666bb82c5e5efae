//! Scales of quantised tensors, which lie beside the elements.
//!
//! In: bytes as stored. Out: f32 values. Invariant: scales are read as they are, in either type.

use std::borrow::Cow;

use half::f16;

use crate::operand::Packed;
use crate::panel::{Panel, StoredRows, ROWS};

/// Data type of the scales of a quantised tensor.
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

    /// Decodes a little-endian scale.
    pub(crate) fn read(self, b: &[u8]) -> f32 {
        match self {
            ScaleType::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            ScaleType::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
        }
    }
}

/// Scales of a quantised tensor, `[rows, ceil(cols / group)]`.
#[derive(Clone, Debug)]
pub enum Scales<'a> {
    /// Little-endian f32.
    F32(Cow<'a, [u8]>),
    /// Little-endian f16.
    F16(Cow<'a, [u8]>),
}

impl Scales<'_> {
    pub(crate) fn bytes(&self) -> (&[u8], ScaleType) {
        match self {
            Scales::F32(b) => (b, ScaleType::F32),
            Scales::F16(b) => (b, ScaleType::F16),
        }
    }

    /// Others of the same type.
    pub(crate) fn with_bytes(&self, bytes: Vec<u8>) -> Scales<'static> {
        match self {
            Scales::F32(_) => Scales::F32(Cow::Owned(bytes)),
            Scales::F16(_) => Scales::F16(Cow::Owned(bytes)),
        }
    }
}

/// The f16 at a byte of a block.
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    ScaleType::F16.read(&block[at..at + 2])
}

/// The name of a format of integers: `i8g64`, with f16 scales `i8g64s16`.
pub(crate) fn name(bits: u32, group: u32, scales: ScaleType) -> String {
    let scales = match scales {
        ScaleType::F16 => "s16",
        ScaleType::F32 => "",
    };
    format!("i{bits}g{group}{scales}")
}

/// Group size and type of the scales in such a name.
pub(crate) fn parse(bits: u32, name: &str) -> Option<(u32, ScaleType)> {
    let rest = name.strip_prefix(&format!("i{bits}g"))?;
    let (digits, scales) = match rest.strip_suffix("s16") {
        Some(digits) => (digits, ScaleType::F16),
        None => (rest, ScaleType::F32),
    };
    let group = digits.parse().ok().filter(|&group| group > 0)?;
    Some((group, scales))
}

/// Packs a panel of integers group by group: the scales of all rows, then the integers. `inputs(rows, (first, width), out)`
/// writes the integers of `width` columns of all rows, from column `first` on.
pub(crate) fn pack(
    packed: &dyn Packed,
    (group, scales): (u32, ScaleType),
    panel: &Panel,
    out: &mut [u8],
    inputs: impl Fn(&StoredRows, (usize, usize), &mut [u8]),
) {
    out.fill(0);
    let (rows, scales_of) = (panel.stored(), panel.scales());
    let (cols, group, each) = (panel.cols as usize, group as usize, scales.bytes() as usize);
    let mut rest = out;
    for (g, first) in (0..cols).step_by(group).enumerate() {
        let width = group.min(cols - first);
        let (bytes, after) = rest.split_at_mut(packed.group_bytes(width as u64) as usize);
        let (of_rows, integers) = bytes.split_at_mut(ROWS * each);
        for (place, row) in of_rows.chunks_exact_mut(each).zip(scales_of) {
            if let Some(row) = row {
                place.copy_from_slice(&row[g * each..(g + 1) * each]);
            }
        }
        inputs(&rows, (first, width), integers);
        rest = after;
    }
}

/// Bound on the values of a group whose f16 scale underflows to 0.
pub const NOTHING: f64 = 1e-5;

/// Rounding error of `n` quantisation steps; [`NOTHING`] for a group whose scale is 0.
pub(crate) fn steps(n: f64, scale: f64) -> f64 {
    match scale == 0.0 {
        true => NOTHING,
        false => n * scale,
    }
}
