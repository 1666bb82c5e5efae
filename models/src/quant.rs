//! Weight types of a model.bin, and values to their bytes.
//!
//! In: rows of f32. Out: little-endian bytes. Invariant: int8 groups never cross rows; a scale is
//! `max|w| / 127`, a value is rounded half to even and lies in -127..=127; nothing that is not finite
//! is ever rounded. Goldens hold these bytes; another way to round is another weight type.

use std::fmt;

use half::bf16;
use qwenc_ir::DType;

use crate::error::{Error, Result};

/// Largest group of int8 weights.
pub const MAX_GROUP: u32 = 1 << 16;

/// How `export` stores matrices; norms and biases are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// As they are, widened exactly where the checkpoint has fewer bits.
    F32,
    /// Rounded half to even.
    Bf16,
    /// 8-bit integers with an f32 scale per `group` inputs of a row.
    I8 {
        /// Inputs that share a scale, 1 to [`MAX_GROUP`].
        group: u32,
    },
}

impl Quant {
    /// The weight type's number in the header.
    pub fn code(self) -> u32 {
        match self {
            Quant::F32 => 0,
            Quant::Bf16 => 1,
            Quant::I8 { .. } => 2,
        }
    }

    /// Inputs that share a scale; 0 where there are none.
    pub fn group(self) -> u32 {
        match self {
            Quant::I8 { group } => group,
            _ => 0,
        }
    }

    /// The type of matrices in a graph of such a file.
    pub fn dtype(self) -> DType {
        match self {
            Quant::F32 => DType::F32,
            Quant::Bf16 => DType::Bf16,
            Quant::I8 { group } => DType::I8 { group },
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Quant::I8 { group } if group == 0 || group > MAX_GROUP => {
                Err(Error::Group { limit: MAX_GROUP, found: group })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}

/// The first value that is NaN or infinite.
pub(crate) fn not_finite(values: &[f32]) -> Option<(usize, f32)> {
    // A maximum over integers is quick; the search runs only when there is something to find.
    match max_abs_bits(values) < f32::INFINITY.to_bits() {
        true => None,
        false => values.iter().copied().enumerate().find(|(_, v)| !v.is_finite()),
    }
}

/// The bits of max|v|: they order as the absolute values do.
fn max_abs_bits(values: &[f32]) -> u32 {
    values.iter().fold(0, |most, v| most.max(v.to_bits() & 0x7fff_ffff))
}

/// Appends f32 bytes.
pub(crate) fn f32_bytes(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

/// Appends bf16 bytes.
pub(crate) fn bf16_bytes(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
}

/// Appends one row's integers to `data` and its f32 scales to `scales`; the row must be finite.
pub(crate) fn i8_row(row: &[f32], group: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>) {
    for values in row.chunks(group) {
        let scale = f32::from_bits(max_abs_bits(values)) / 127.0;
        scales.extend(scale.to_le_bytes());
        // Zero also where max|w| is so small that the quotient underflows.
        if scale == 0.0 {
            data.extend(std::iter::repeat_n(0u8, values.len()));
        } else {
            data.extend(values.iter().map(|v| round_half_even((v / scale).clamp(-127.0, 127.0)) as u8));
        }
    }
}

/// For |x| <= 127: 1.5 · 2^23 plus x has no bits for a fraction, so the sum itself rounds, and the
/// integer stands in the low bits in two's complement. Unlike `round_ties_even` it needs no SSE4.1.
fn round_half_even(x: f32) -> i8 {
    (x + 12_582_912.0).to_bits() as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_to_even() {
        for i in -127 * 64..=127 * 64 {
            let x = i as f32 / 64.0;
            assert_eq!(f32::from(round_half_even(x)), x.round_ties_even(), "{x}");
        }
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5, -2.5].map(round_half_even), [0, 2, 2, 0, -2, -2]);
    }

    #[test]
    fn last_group_is_shorter_and_zeros_have_scale_zero() {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        i8_row(&[1.0, -127.0, 0.0, 0.0, -3.0], 2, &mut data, &mut scales);
        assert_eq!(data, [1, 129, 0, 0, 129]);
        let scales: Vec<f32> =
            scales.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(scales, [1.0, 0.0, 3.0 / 127.0]);
    }

    #[test]
    fn tiny_values_make_no_infinity() {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        i8_row(&[f32::from_bits(3), -f32::from_bits(1)], 2, &mut data, &mut scales);
        assert_eq!((data, scales), (vec![0, 0], vec![0; 4]));
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        // The scale itself is rounded to a multiple of the smallest number, here 2 and 2 units.
        i8_row(&[f32::from_bits(200), -f32::from_bits(300), f32::MAX], 1, &mut data, &mut scales);
        assert_eq!(data, [100, 129, 127]);
    }

    #[test]
    fn what_is_not_finite_is_found() {
        assert_eq!(not_finite(&[0.0, f32::MAX, -1.0]), None);
        assert_eq!(not_finite(&[0.0, f32::NEG_INFINITY]), Some((1, f32::NEG_INFINITY)));
        assert!(not_finite(&[f32::NAN]).is_some_and(|(at, v)| at == 0 && v.is_nan()));
    }
}
