//! Q4_1 of GGUF: blocks of 32 with a scale and a minimum; only as stored.
//!
//! A block is f16 d, f16 min, sixteen bytes with elements 0 to 15 in low halves and 16 to 31 in high ones: `d·q + min`, q in
//! 0..=15 (`block_q4_1` of ggml).

use crate::registry::DType;
use crate::scales::half_at;
use crate::storage::Storage;
use crate::tensor::Row;

/// The entry.
pub(crate) struct Q4_1;

/// Elements and bytes of a block.
const BLOCK: (usize, usize) = (32, 20);

impl Q4_1 {
    /// The format of this name.
    pub fn parse(name: &str) -> Option<DType> {
        (name == "q4_1").then_some(DType::Q4_1)
    }
}

impl Storage for Q4_1 {
    fn name(&self) -> String {
        "q4_1".to_string()
    }

    fn words(&self) -> String {
        "Q4_1".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (BLOCK.0 as u64, BLOCK.1 as u64)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        for (values, block) in out.chunks_mut(BLOCK.0).zip(row.data.chunks_exact(BLOCK.1)) {
            let mut all = [0.0; BLOCK.0];
            read(block, &mut all);
            values.copy_from_slice(&all[..values.len()]);
        }
    }
}

fn read(block: &[u8], out: &mut [f32; BLOCK.0]) {
    let (d, min, packed) = (half_at(block, 0), half_at(block, 2), &block[4..]);
    for (i, b) in packed.iter().enumerate() {
        out[i] = d * f32::from(b & 15) + min;
        out[i + 16] = d * f32::from(b >> 4) + min;
    }
}
