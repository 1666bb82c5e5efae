//! Q6_K of GGUF: blocks of 256 with sixteen scales; only as stored.
//!
//! A block is 128 bytes of low halves, 64 of high quarters, 16 scales as i8, f16 d: `d·scale·(q - 32)`, q in 0..=63
//! (`block_q6_K` of ggml).

use crate::scales::half_at;
use crate::storage::Storage;
use crate::tensor::Row;

/// Registry entry of Q6_K.
pub(crate) struct Q6K;

/// Elements of a block.
const ELEMENTS: usize = 256;
/// Bytes of a block.
const BYTES: usize = 210;

impl Storage for Q6K {
    fn name(&self) -> String {
        "q6_k".to_string()
    }

    fn words(&self) -> String {
        "Q6_K".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (ELEMENTS as u64, BYTES as u64)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        row.read_blocks(BYTES, read, out);
    }
}

fn read(block: &[u8], out: &mut [f32; ELEMENTS]) {
    let d = half_at(block, 208);
    for (at, value) in out.iter_mut().enumerate() {
        // Halves of 128 elements; in each, four runs of 32.
        let (half, run, j) = (at / 128, at % 128 / 32, at % 32);
        let low = block[64 * half + 32 * (run % 2) + j] >> (4 * (run / 2)) & 15;
        let high = block[128 + 32 * half + j] >> (2 * run) & 3;
        let scale = f32::from(block[192 + at / 16] as i8);
        *value = d * scale * (f32::from(low | high << 4) - 32.0);
    }
}
