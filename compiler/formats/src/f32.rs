//! f32: IEEE 754 binary32, as stored and as read.
//!
//! A panel is `[cols][32]`.

use crate::bf12::Dictionary;
use crate::inputs::Inputs;
use crate::operand::Packed;
use crate::panel::{Panel, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::storage::{Quantiser, Storage};
use crate::tensor::Row;

/// Registry entry of f32.
pub(crate) struct F32;

impl Storage for F32 {
    fn name(&self) -> String {
        "f32".to_string()
    }

    fn words(&self) -> String {
        "f32".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (1, 4)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(row.data.chunks_exact(4)) {
            *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
    }

    fn is_finite(&self, data: &[u8]) -> bool {
        // Exponents of infinity and NaN are all ones.
        let magnitude = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7fff_ffff;
        data.chunks_exact(4).map(magnitude).fold(0, u32::max) < 0x7f80_0000
    }

    fn holds(&self, _: DType) -> bool {
        true
    }

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::F32)
    }
}

impl Quantiser for F32 {
    fn round(&self, values: &[f32], _: usize, data: &mut Vec<u8>, _: &mut Vec<u8>) {
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    fn rounding(&self, _: f64, _: f64) -> f64 {
        0.0
    }
}

impl Packed for F32 {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::F32
    }

    fn packs(&self, dtype: DType) -> bool {
        DType::F32.holds(dtype)
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        4 * u64::from(PANEL_ROWS) * u64::from(cols)
    }

    fn inputs(&self) -> &'static [Inputs] {
        &[Inputs::F32]
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        out.fill(0);
        let mut values = Vec::new();
        for (lane, row) in panel.lanes() {
            values.resize(row.tensor.cols(), 0.0f32);
            row.tensor.read_row(row.row, &mut values);
            for (k, v) in values.iter().enumerate() {
                let v = v * panel.gain.map_or(1.0, |g| g[k]);
                let at = 4 * ((row.first + k) * ROWS + lane);
                out[at..at + 4].copy_from_slice(&v.to_le_bytes());
            }
        }
    }
}
