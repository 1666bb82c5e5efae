//! int4: integers -8 to 7 in four bits with one scale per group of a row's inputs, as stored and as read.
//!
//! A panel is, group by group, `[32]` scales, then `[ceil(group / 8)][32][4]` bytes: byte `i` of row `l` in octet `j` has
//! input `8j + i` in its low half and input `8j + 4 + i` in its high half, each as `q + 8`. So a vector of 64 bytes is 16
//! rows of one quad of inputs, and its high halves are the next quad. Padding halves are 8, that is 0; scales of padding
//! rows are 0.

mod round;

use half::f16;

use crate::bf12::Dictionary;
use crate::inputs::{InputLayout, Inputs};
use crate::operand::{panel_of_groups, Packed};
use crate::panel::{round_up, Panel, StoredRows, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::scales::{self, ScaleType};
use crate::storage::{Quantiser, Storage};
use crate::tensor::Row;

/// Steps by which the search for a scale leaves a value beyond -8 and 7 at most.
const STEPS: f64 = 2.6;

/// Registry entry of int4; see [`DType::I4`].
pub(crate) struct Int4 {
    pub group: u32,
    pub scales: ScaleType,
}

impl Int4 {
    /// The format of this name.
    pub fn parse(name: &str) -> Option<DType> {
        scales::parse(4, name).map(|(group, scales)| DType::I4 { group, scales })
    }
}

impl Storage for Int4 {
    fn name(&self) -> String {
        scales::name(4, self.group, self.scales)
    }

    fn words(&self) -> String {
        match self.scales {
            ScaleType::F16 => format!("int4 in groups of {}", self.group),
            ScaleType::F32 => format!("int4 in groups of {} with f32 scales", self.group),
        }
    }

    fn block(&self) -> (u64, u64) {
        (2, 1)
    }

    fn groups(&self) -> Option<(u32, ScaleType)> {
        Some((self.group, self.scales))
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        let group = self.group as usize;
        for (g, o) in out.chunks_mut(group).enumerate() {
            let scale = row.scale(self.scales, g);
            for (k, o) in (g * group..).zip(o) {
                let n = row.data[k / 2] >> (4 * (k % 2)) & 15;
                *o = (f32::from(n) - 8.0) * scale;
            }
        }
    }

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::I4 { group: self.group, scales: self.scales })
    }
}

impl Quantiser for Int4 {
    fn round(&self, values: &[f32], cols: usize, data: &mut Vec<u8>, scales: &mut Vec<u8>) {
        round::rows(values, (cols, self.group as usize), data, scales);
    }

    fn rounding(&self, _: f64, scale: f64) -> f64 {
        scales::steps(STEPS, scale)
    }

    /// Rounding makes scales in f16, which reach so far.
    fn largest(&self) -> Option<f32> {
        Some(8.0 * f16::MAX.to_f32())
    }
}

impl Packed for Int4 {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::I4 { group: self.group, scales: self.scales }
    }

    fn groups(&self) -> Option<(u32, ScaleType)> {
        Storage::groups(self)
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        panel_of_groups(self, self.group, cols)
    }

    fn group_bytes(&self, width: u64) -> u64 {
        u64::from(PANEL_ROWS) * (self.scales.bytes() + round_up(width, 8) / 2)
    }

    fn input_layout(&self) -> Option<InputLayout> {
        Some(InputLayout::corrected(self.group, 8, 8))
    }

    fn inputs(&self) -> &'static [Inputs] {
        &[Inputs::Int8]
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        scales::pack(self, (self.group, self.scales), panel, out, octets);
    }
}

/// `width` inputs of each row from `first` on.
fn octets(rows: &StoredRows, (first, width): (usize, usize), out: &mut [u8]) {
    out.fill(0x88);
    for (lane, bytes) in rows.iter().enumerate() {
        let Some(bytes) = bytes else { continue };
        for (octet, at) in (0..width).step_by(8).enumerate() {
            let eight = stored_octet(bytes, first + at, (width - at).min(8));
            let to = &mut out[4 * (octet * ROWS + lane)..][..4];
            for (i, b) in to.iter_mut().enumerate() {
                let (low, high) = (eight >> (4 * i) & 15, eight >> (4 * i + 16) & 15);
                *b = (low | high << 4) as u8;
            }
        }
    }
}

/// Up to 8 elements of a stored row, the first in the lowest bits; what is missing is 0.
fn stored_octet(row: &[u8], first: usize, width: usize) -> u32 {
    match row.get(first / 2..first / 2 + 4) {
        Some(b) if width == 8 && first.is_multiple_of(2) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        _ => (0..width).fold(0x8888_8888, |all, i| {
            let stored = row[(first + i) / 2] >> (4 * ((first + i) % 2)) & 15;
            all & !(15 << (4 * i)) | u32::from(stored) << (4 * i)
        }),
    }
}
