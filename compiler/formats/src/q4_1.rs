//! Q4_1 of GGUF: blocks of 32 with a scale and a minimum; only as stored.
//!
//! A block is f16 d, f16 min, sixteen bytes with elements 0 to 15 in low halves and 16 to 31 in high ones: `d·q + min`, q in
//! 0..=15 (`block_q4_1` of ggml).

use crate::scales::half_at;
use crate::storage::Storage;
use crate::tensor::Row;

/// Registry entry of Q4_1.
pub(crate) struct Q4_1;

/// Elements of a block.
const ELEMENTS: usize = 32;
/// Bytes of a block.
const BYTES: usize = 20;

impl Storage for Q4_1 {
    fn name(&self) -> String {
        "q4_1".to_string()
    }

    fn words(&self) -> String {
        "Q4_1".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (ELEMENTS as u64, BYTES as u64)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        row.read_blocks(BYTES, read, out);
    }
}

fn read(block: &[u8], out: &mut [f32; ELEMENTS]) {
    let (d, min, packed) = (half_at(block, 0), half_at(block, 2), &block[4..]);
    for (i, b) in packed.iter().enumerate() {
        out[i] = d * f32::from(b & 15) + min;
        out[i + 16] = d * f32::from(b >> 4) + min;
    }
}
