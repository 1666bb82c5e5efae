//! int8: signed bytes with one scale per group of a row's inputs, as stored and as read.
//!
//! A panel is, group by group, `[32]` scales, then `[ceil(group / 4)][32][4]` bytes `q + 128`: the unsigned operand of a
//! u8 x i8 dot product. Padding bytes are 128, that is 0; scales of padding rows are 0.

use half::f16;

use crate::bf12::Dictionary;
use crate::inputs::{InputLayout, Inputs};
use crate::operand::{panel_of_groups, Packed};
use crate::panel::{round_up, Panel, StoredRows, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::scales::{self, ScaleType};
use crate::storage::{max_abs, Quantiser, Storage};
use crate::tensor::Row;

/// The largest group whose sum of products of 16 and 8 bits fits in 32.
const LARGEST_INT16_GROUP: u32 = 1024;

/// Half a step, and what rounding the scale to f16 adds.
const STEPS: f64 = 0.57;

/// Registry entry of int8; see [`DType::I8`].
pub(crate) struct Int8 {
    pub group: u32,
    pub scales: ScaleType,
}

impl Int8 {
    /// The format of this name.
    pub fn parse(name: &str) -> Option<DType> {
        scales::parse(8, name).map(|(group, scales)| DType::I8 { group, scales })
    }
}

impl Storage for Int8 {
    fn name(&self) -> String {
        scales::name(8, self.group, self.scales)
    }

    fn words(&self) -> String {
        match self.scales {
            ScaleType::F32 => format!("int8 in groups of {}", self.group),
            ScaleType::F16 => format!("int8 in groups of {} with f16 scales", self.group),
        }
    }

    fn block(&self) -> (u64, u64) {
        (1, 1)
    }

    fn groups(&self) -> Option<(u32, ScaleType)> {
        Some((self.group, self.scales))
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        let group = self.group as usize;
        for (g, (o, b)) in out.chunks_mut(group).zip(row.data.chunks(group)).enumerate() {
            let scale = row.scale(self.scales, g);
            for (o, &q) in o.iter_mut().zip(b) {
                *o = f32::from(q as i8) * scale;
            }
        }
    }

    fn holds(&self, other: DType) -> bool {
        other == DType::I4 { group: self.group, scales: self.scales }
    }

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::I8 { group: self.group, scales: self.scales })
    }
}

impl Quantiser for Int8 {
    fn round(&self, values: &[f32], cols: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>) {
        values.chunks(cols).for_each(|row| round_row(row, (self.group as usize, self.scales), data, scales));
    }

    fn rounding(&self, _: f64, scale: f64) -> f64 {
        scales::steps(STEPS, scale)
    }

    fn largest(&self) -> Option<f32> {
        match self.scales {
            ScaleType::F16 => Some(127.0 * f16::MAX.to_f32()),
            ScaleType::F32 => None,
        }
    }
}

impl Packed for Int8 {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::I8 { group: self.group, scales: self.scales }
    }

    fn groups(&self) -> Option<(u32, ScaleType)> {
        Storage::groups(self)
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        panel_of_groups(self, self.group, cols)
    }

    fn group_bytes(&self, width: u64) -> u64 {
        u64::from(PANEL_ROWS) * (self.scales.bytes() + round_up(width, 4))
    }

    fn input_layout(&self) -> Option<InputLayout> {
        Some(InputLayout::corrected(self.group, 4, 128))
    }

    fn inputs(&self) -> &'static [Inputs] {
        match self.group > LARGEST_INT16_GROUP {
            true => &[Inputs::Int8],
            false => &[Inputs::Int16, Inputs::Int8],
        }
    }

    fn usual_inputs(&self, tolerant: bool) -> Inputs {
        match tolerant {
            true => Inputs::Int8,
            false => self.inputs()[0],
        }
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        scales::pack(self, (self.group, self.scales), panel, out, quads);
    }
}

/// `width` inputs of each row from `first` on.
fn quads(rows: &StoredRows, (first, width): (usize, usize), out: &mut [u8]) {
    out.fill(128);
    for (lane, row) in rows.iter().enumerate() {
        let Some(row) = row else { continue };
        let inputs = &row[first..first + width];
        for (quad, q) in inputs.chunks(4).enumerate() {
            for (i, b) in q.iter().enumerate() {
                out[4 * (quad * ROWS + lane) + i] = b.wrapping_add(128);
            }
        }
    }
}

/// Appends one row's integers to `data` and its scales to `scales`. A scale is `max|w| / 127`, a value is rounded half to even
/// and lies in -127..=127. Goldens hold these bytes; another way to round is another format.
fn round_row(row: &[f32], (group, scale_type): (usize, ScaleType), data: &mut Vec<u8>, scales: &mut Vec<u8>) {
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
        round_row(&[1.0, -127.0, 0.0, 0.0, -3.0], (2, ScaleType::F32), &mut data, &mut scales);
        assert_eq!(data, [1, 129, 0, 0, 129]);
        let scales: Vec<f32> =
            scales.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_eq!(scales, [1.0, 0.0, 3.0 / 127.0]);
    }

    #[test]
    fn scales_in_f16_are_rounded_before_the_integers() {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        round_row(&[100.0, -99.0, 50.0, 1e-9], (3, ScaleType::F16), &mut data, &mut scales);
        let scale = f16::from_f32(100.0 / 127.0);
        assert_eq!(scales, [scale.to_le_bytes(), [0, 0]].concat());
        let q = [100.0, -99.0, 50.0].map(|v: f32| (v / scale.to_f32()).round_ties_even() as i8 as u8);
        assert_eq!(data, [&q[..], &[0]].concat());
    }

    #[test]
    fn tiny_values_make_no_infinity() {
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        round_row(&[f32::from_bits(3), -f32::from_bits(1)], (2, ScaleType::F32), &mut data, &mut scales);
        assert_eq!((data, scales), (vec![0, 0], vec![0; 4]));
        let (mut data, mut scales) = (Vec::new(), Vec::new());
        // The scale itself is rounded to a multiple of the smallest number, here 2 and 2 units.
        let tiny = [f32::from_bits(200), -f32::from_bits(300), f32::MAX];
        round_row(&tiny, (1, ScaleType::F32), &mut data, &mut scales);
        assert_eq!(data, [100, 129, 127]);
    }
}
