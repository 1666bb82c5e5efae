//! Interface of a storage format: names, sizes, reference reader, rounding. In: sizes, rows. Out: bytes, f32 values.
//!
//! Invariant: [`Storage::read_row`] is the reference: kernels, quantisers and panels are tested against it.

use crate::registry::{DType, Operand};
use crate::scales::ScaleType;
use crate::tensor::Row;

/// Blocks that are read at a time where only something about their values is asked.
const BLOCKS_AT_ONCE: usize = 1 << 12;

/// Storage half of a registry entry.
pub(crate) trait Storage {
    /// The name in text forms: `i8g64`.
    fn name(&self) -> String;
    /// The name for people: `int8 in groups of 64`.
    fn words(&self) -> String;
    /// Elements and bytes of a block, of which rows are a whole number; scales beside the elements are not counted.
    fn block(&self) -> (u64, u64);
    /// Group size and type of the scales, where there are scales beside the elements.
    fn groups(&self) -> Option<(u32, ScaleType)> {
        None
    }
    /// The values of a row as f32, written to `out`, which has as many elements.
    fn read_row(&self, row: &Row, out: &mut [f32]);
    /// Whether all values of whole blocks are finite; scales beside them are not looked at.
    fn is_finite(&self, data: &[u8]) -> bool {
        let (elements, bytes) = self.block();
        let mut values = vec![0.0; (data.len() as u64 / bytes * elements) as usize];
        self.read_row(&Row { data, scales: &[] }, &mut values);
        values.iter().all(|value| value.is_finite())
    }
    /// Whether every value of a matrix in `other`, another format, is one of this format too, with the same scales where
    /// both have some.
    fn holds(&self, _other: DType) -> bool {
        false
    }
    /// The rounding to this format; none where values only come from files.
    fn quantiser(&self) -> Option<&dyn Quantiser> {
        None
    }
    /// The format in which kernels read such a matrix; none where it has to be converted first.
    fn operand(&self) -> Option<Operand> {
        None
    }
}

/// Rounding of values to a format.
pub(crate) trait Quantiser {
    /// Appends whole rows of `cols` values to `data`, and their scales to `scales`. Values are finite, and no larger than
    /// [`Quantiser::largest`].
    fn round(&self, values: &[f32], cols: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>);
    /// The most that [`Quantiser::round`] may move `value`, in a group with this scale; where scales are inside blocks,
    /// `scale` is the largest absolute value of the block.
    fn rounding(&self, value: f64, scale: f64) -> f64;
    /// The largest absolute value that [`Quantiser::round`] takes; none where it takes every finite one.
    fn largest(&self) -> Option<f32> {
        None
    }
}

impl DType {
    /// Elements and bytes of a block, of which rows are a whole number; scales beside the elements are not counted.
    pub fn block(self) -> (u64, u64) {
        self.entry(|e| e.block())
    }

    /// Bytes of a row of `n` elements, scales beside them not counted.
    pub fn bytes(self, n: u64) -> u64 {
        let (elements, bytes) = self.block();
        n.div_ceil(elements) * bytes
    }

    /// Group size and type of the scales, where there are scales beside the elements.
    pub fn quantised(self) -> Option<(u32, ScaleType)> {
        self.entry(|e| e.groups())
    }

    /// Inputs that share a scale, where there are scales beside the elements.
    pub fn group(self) -> Option<u32> {
        self.quantised().map(|(group, _)| group)
    }

    /// Bytes of the scales of a row of `n` elements; 0 where there are none beside the elements.
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

    /// Appends the values of `cols` elements, of a format without scales beside them.
    pub fn read(self, row: &[u8], cols: usize, out: &mut Vec<f32>) {
        let from = out.len();
        out.resize(from + cols, 0.0);
        self.entry(|e| e.read_row(&Row { data: row, scales: &[] }, &mut out[from..]));
    }

    /// Whether all values of whole rows are finite, of a format without scales beside them.
    pub fn is_finite(self, rows: &[u8]) -> bool {
        let (_, bytes) = self.block();
        rows.chunks(bytes as usize * BLOCKS_AT_ONCE).all(|blocks| self.entry(|e| e.is_finite(blocks)))
    }

    /// Whether every value of a matrix in `other` is one of this format too, with the same scales where both have some.
    pub fn holds(self, other: DType) -> bool {
        self == other || self.entry(|e| e.holds(other))
    }

    /// Whether values can be rounded to this format; some only come from files.
    pub fn can_round(self) -> bool {
        self.entry(|e| e.quantiser().is_some())
    }

    /// Appends whole rows of `cols` values, rounded to this format, to `data`, and their scales to `scales`; nothing where
    /// [`DType::can_round`] is false. Values are finite, and no larger than [`DType::largest`].
    pub fn round(self, values: &[f32], cols: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>) {
        self.entry(|e| e.quantiser().into_iter().for_each(|q| q.round(values, cols, data, scales)));
    }

    /// The most that [`DType::round`] may move `value`, in a group with this scale; where scales are inside blocks, `scale` is
    /// the largest absolute value of the block.
    pub fn rounding(self, value: f64, scale: f64) -> f64 {
        self.entry(|e| e.quantiser().map_or(0.0, |q| q.rounding(value, scale)))
    }

    /// The largest absolute value that [`DType::round`] takes; none where it takes every finite one.
    pub fn largest(self) -> Option<f32> {
        self.entry(|e| e.quantiser().and_then(|q| q.largest()))
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
