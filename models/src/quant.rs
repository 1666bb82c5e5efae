//! How `export` stores matrices, and values to their bytes.
//!
//! In: rows of f32. Out: little-endian bytes. Invariant: int8 groups never cross rows; a scale is
//! `max|w| / 127`, a value is rounded half to even and lies in -127..=127; nothing that is not finite
//! is ever rounded. Goldens hold these bytes; another way to round is another weight type. How int4 is
//! rounded is in `int4.rs`.

use std::fmt;

use half::{bf16, f16};
use qwenc_ir::ScaleType;

use crate::error::{Error, Result};
use crate::weight_types::{group_rule, WeightTypes};

/// Largest group of quantised weights.
pub const MAX_GROUP: u32 = 1 << 16;
/// Group size of the int8 embedding beside int4 linears.
pub(crate) const EMBEDDING_GROUP: u32 = 64;

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
    /// 4-bit integers with an f16 scale per `group` inputs of a row.
    I4 {
        /// Inputs that share a scale, a multiple of 8 up to [`MAX_GROUP`].
        group: u32,
        /// Whether embedding and LM head too; else they are 8-bit integers with an f16 scale per 64 inputs.
        embeddings: bool,
    },
}

impl Quant {
    /// Whether the group size can be.
    pub fn check(self) -> Result<()> {
        let types = WeightTypes::of(self);
        match group_rule(types.linears) {
            Some(expected) => Err(Error::Group { expected, found: types.group() }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WeightTypes::of(*self).fmt(f)
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

/// max|v|.
pub(crate) fn max_abs(values: &[f32]) -> f32 {
    f32::from_bits(max_abs_bits(values))
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

/// Appends one row's integers to `data` and its scales to `scales`; the row must be finite, and each scale
/// within its type's range.
pub(crate) fn i8_row(
    row: &[f32],
    (group, scale_type): (usize, ScaleType),
    data: &mut Vec<u8>,
    scales: &mut Vec<u8>,
) {
    for values in row.chunks(group) {
        let mut scale = max_abs(values) / 127.0;
        match scale_type {
            ScaleType::F32 => scales.extend(scale.to_le_bytes()),
            ScaleType::F16 => {
                let stored = f16::from_f32(scale);
                scales.extend(stored.to_le_bytes());
                scale = stored.to_f32();
            }
        }
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
        i8_row(&[1.0, -127.0, 0.0, 0.0, -3.0], (2, ScaleType::F32), &mut data, &mut scales);
        assert_eq!(data, [1, 129, 0, 0, 129]);
        let scales: Vec<f32> =
            scales.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(scales, [1.0, 0.0, 3.0 / 127.0]);
    }

    #[test]
    fn scales_in_f16_are_rounded_before_the_integers() {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        i8_row(&[100.0, -99.0, 50.0, 1e-9], (3, ScaleType::F16), &mut data, &mut scales);
        let scale = f16::from_f32(100.0 / 127.0);
        assert_eq!(scales, [scale.to_le_bytes(), [0, 0]].concat());
        let q = [100.0, -99.0, 50.0].map(|v: f32| (v / scale.to_f32()).round_ties_even() as i8 as u8);
        assert_eq!(data, [&q[..], &[0]].concat());
    }

    #[test]
    fn tiny_values_make_no_infinity() {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        i8_row(&[f32::from_bits(3), -f32::from_bits(1)], (2, ScaleType::F32), &mut data, &mut scales);
        assert_eq!((data, scales), (vec![0, 0], vec![0; 4]));
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        // The scale itself is rounded to a multiple of the smallest number, here 2 and 2 units.
        let tiny = [f32::from_bits(200), -f32::from_bits(300), f32::MAX];
        i8_row(&tiny, (1, ScaleType::F32), &mut data, &mut scales);
        assert_eq!(data, [100, 129, 127]);
    }

    #[test]
    fn what_is_not_finite_is_found() {
        assert_eq!(not_finite(&[0.0, f32::MAX, -1.0]), None);
        assert_eq!(not_finite(&[0.0, f32::NEG_INFINITY]), Some((1, f32::NEG_INFINITY)));
        assert!(not_finite(&[f32::NAN]).is_some_and(|(at, v)| at == 0 && v.is_nan()));
    }
}
