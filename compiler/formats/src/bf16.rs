//! bf16: the upper half of a binary32, as stored and as read.
//!
//! A panel is `[ceil(cols / 2)][32][2]`, two neighbouring inputs of one row side by side.

use half::bf16;

use crate::bf12::Dictionary;
use crate::inputs::Inputs;
use crate::operand::Packed;
use crate::panel::{round_up, Panel, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::storage::{Quantiser, Storage};
use crate::tensor::Row;

/// Registry entry of bf16.
pub(crate) struct Bf16;

/// Forms of inputs that elements of bf16 are multiplied with, compressed or not.
pub(crate) const INPUTS: &[Inputs] = &[Inputs::F32, Inputs::Bf16];

impl Storage for Bf16 {
    fn name(&self) -> String {
        "bf16".to_string()
    }

    fn words(&self) -> String {
        "bf16".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (1, 2)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(row.data.chunks_exact(2)) {
            *o = bf16::from_le_bytes([b[0], b[1]]).to_f32();
        }
    }

    fn is_finite(&self, data: &[u8]) -> bool {
        // Exponents of infinity and NaN are all ones.
        let magnitude = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]) & 0x7fff;
        data.chunks_exact(2).map(magnitude).fold(0, u16::max) < 0x7f80
    }

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::Bf16)
    }
}

impl Quantiser for Bf16 {
    fn round(&self, values: &[f32], _: usize, data: &mut Vec<u8>, _: &mut Vec<u8>) {
        data.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
    }

    fn rounding(&self, value: f64, _: f64) -> f64 {
        // Half of the last of 8 bits.
        value.abs() / 256.0
    }
}

impl Packed for Bf16 {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::Bf16
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        2 * u64::from(PANEL_ROWS) * round_up(u64::from(cols), 2)
    }

    fn inputs(&self) -> &'static [Inputs] {
        INPUTS
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        out.fill(0);
        for (lane, row) in panel.lanes() {
            for (pair, b) in row.tensor.row_bytes(row.row).chunks(4).enumerate() {
                let at = 4 * (pair * ROWS + lane);
                out[at..at + b.len()].copy_from_slice(b);
            }
        }
    }
}
