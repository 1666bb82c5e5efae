//! What a storage format says of itself. In: sizes, rows. Out: bytes, names, f32 values.
//!
//! Invariant: [`Storage::read_row`] is the reference: kernels, quantisers and panels are tested against it.

use crate::registry::{DType, Operand};
use crate::scales::ScaleType;
use crate::tensor::Row;

/// A storage format.
pub(crate) trait Storage {
    /// The name in text forms: `i8g64`.
    fn name(&self) -> String;
    /// The name for people: `int8 in groups of 64`.
    fn words(&self) -> String;
    /// Bytes of a row of `n` elements, scales not counted.
    fn row_bytes(&self, n: u64) -> u64;
    /// Group size and type of the scales, where there are scales beside the elements.
    fn groups(&self) -> Option<(u32, ScaleType)> {
        None
    }
    /// The values of a row as f32, written to `out`, which has as many elements.
    fn read_row(&self, row: &Row, out: &mut [f32]);
    /// Whether every value of a matrix in `other`, another format, is one of this format too, with the same scales.
    fn holds(&self, other: DType) -> bool;
    /// The most that [`Storage::round`] may move `value`, in a group with this scale.
    fn rounding(&self, value: f64, scale: f64) -> f64;
    /// The format in which kernels read such a matrix; none where it has to be converted first.
    fn operand(&self) -> Option<Operand>;
    /// Appends whole rows of `cols` values, rounded to this format, to `data`, and their scales to `scales`. Values are
    /// finite, and no larger than [`Storage::largest`].
    fn round(&self, values: &[f32], cols: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>);
    /// The largest absolute value that [`Storage::round`] takes; none where it takes every finite one.
    fn largest(&self) -> Option<f32> {
        None
    }
}

impl DType {
    /// Bytes of a row of `n` elements, scales not counted.
    pub fn bytes(self, n: u64) -> u64 {
        self.entry(|e| e.row_bytes(n))
    }

    /// Inputs that share a scale, where there are scales.
    pub fn group(self) -> Option<u32> {
        self.quantised().map(|(group, _)| group)
    }

    /// Group size and type of the scales, where there are scales.
    pub fn quantised(self) -> Option<(u32, ScaleType)> {
        self.entry(|e| e.groups())
    }

    /// Bytes of the scales of a row of `n` elements; 0 where there are none.
    pub fn scale_bytes(self, n: u64) -> u64 {
        self.quantised().map_or(0, |(group, scales)| scales.bytes() * n.div_ceil(u64::from(group)))
    }

    /// Bytes of a `[rows, cols]` tensor with its scales.
    pub fn matrix_bytes(self, rows: u64, cols: u64) -> u64 {
        rows * (self.bytes(cols) + self.scale_bytes(cols))
    }

    /// The format in a user's words: `int8 in groups of 64`.
    pub fn words(self) -> String {
        self.entry(|e| e.words())
    }

    /// Appends whole rows of `cols` values, rounded to this format, to `data`, and their scales to `scales`. Values are
    /// finite, and no larger than [`DType::largest`].
    pub fn round(self, values: &[f32], cols: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>) {
        self.entry(|e| e.round(values, cols, data, scales));
    }

    /// The largest absolute value that [`DType::round`] takes; none where it takes every finite one.
    pub fn largest(self) -> Option<f32> {
        self.entry(|e| e.largest())
    }

    /// Whether every value of a matrix in `other` is one of this format too, with the same scales where both have some.
    pub fn holds(self, other: DType) -> bool {
        self == other || self.entry(|e| e.holds(other))
    }

    /// The most that [`DType::round`] may move `value`, in a group with this scale.
    pub fn rounding(self, value: f64, scale: f64) -> f64 {
        self.entry(|e| e.rounding(value, scale))
    }

    /// The format in which kernels read such a matrix; none where it has to be converted first.
    pub fn operand(self) -> Option<Operand> {
        self.entry(|e| e.operand())
    }
}

/// The largest absolute value; NaN where there is one.
pub fn max_abs(values: &[f32]) -> f32 {
    // Bits order as absolute values do, NaN above all, and a maximum over integers is quick.
    f32::from_bits(values.iter().fold(0, |most, v| most.max(v.to_bits() & 0x7fff_ffff)))
}
