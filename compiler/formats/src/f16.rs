//! f16: IEEE 754 binary16, as stored and as read.
//!
//! A panel is `[cols][32]`.

use half::f16;

use crate::bf12::Dictionary;
use crate::inputs::Inputs;
use crate::operand::Packed;
use crate::panel::{Panel, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::storage::{Quantiser, Storage};
use crate::tensor::Row;

/// Registry entry of f16.
pub(crate) struct F16;

impl Storage for F16 {
    fn name(&self) -> String {
        "f16".to_string()
    }

    fn words(&self) -> String {
        "f16".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (1, 2)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(row.data.chunks_exact(2)) {
            *o = f16::from_le_bytes([b[0], b[1]]).to_f32();
        }
    }

    fn is_finite(&self, data: &[u8]) -> bool {
        // Exponents of infinity and NaN are all ones.
        let magnitude = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]) & 0x7fff;
        data.chunks_exact(2).map(magnitude).fold(0, u16::max) < 0x7c00
    }

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::F16)
    }
}

impl Quantiser for F16 {
    fn round(&self, values: &[f32], _: usize, data: &mut Vec<u8>, _: &mut Vec<u8>) {
        data.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
    }

    fn rounding(&self, value: f64, _: f64) -> f64 {
        // Half of the last of 11 bits, or of the smallest number.
        value.abs() / 2048.0 + 6e-8
    }

    fn largest(&self) -> Option<f32> {
        Some(f16::MAX.to_f32())
    }
}

impl Packed for F16 {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::F16
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        2 * u64::from(PANEL_ROWS) * u64::from(cols)
    }

    fn inputs(&self) -> &'static [Inputs] {
        &[Inputs::F32]
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        out.fill(0);
        for (lane, row) in panel.lanes() {
            for (k, b) in row.tensor.row_bytes(row.row).chunks_exact(2).enumerate() {
                out[2 * (k * ROWS + lane)..][..2].copy_from_slice(b);
            }
        }
    }
}
