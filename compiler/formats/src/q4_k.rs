//! Q4_K of GGUF: blocks of 256 with eight scales and minima of six bits; only as stored.
//!
//! A block is f16 d, f16 dmin, 12 bytes of scales and minima, 128 of elements: `d·scale·q - dmin·min`, q in 0..=15
//! (`block_q4_K` of ggml). Of every 64 elements the first 32 are in low halves.

use crate::scales::half_at;
use crate::storage::Storage;
use crate::tensor::Row;

/// Registry entry of Q4_K.
pub(crate) struct Q4K;

/// Elements of a block.
const ELEMENTS: usize = 256;
/// Bytes of a block.
const BYTES: usize = 144;

impl Storage for Q4K {
    fn name(&self) -> String {
        "q4_k".to_string()
    }

    fn words(&self) -> String {
        "Q4_K".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (ELEMENTS as u64, BYTES as u64)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        row.read_blocks(BYTES, read, out);
    }
}

fn read(block: &[u8], out: &mut [f32; ELEMENTS]) {
    let (d, dmin, packed, bytes) = (half_at(block, 0), half_at(block, 2), &block[4..16], &block[16..]);
    for (i, values) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(packed, i);
        let (step, offset) = (d * scale, dmin * min);
        for (value, b) in values.iter_mut().zip(&bytes[32 * (i / 2)..]) {
            let q = if i % 2 == 0 { b & 15 } else { b >> 4 };
            *value = step * f32::from(q) - offset;
        }
    }
}

/// Scale and minimum of 32 elements, of the twelve bytes that hold eight pairs.
pub(crate) fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = match i < 4 {
        true => (packed[i] & 63, packed[i + 4] & 63),
        false => (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4),
    };
    (f32::from(scale), f32::from(min))
}
