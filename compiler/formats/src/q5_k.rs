//! Q5_K of GGUF: Q4_K with a fifth bit; only as stored.
//!
//! A block is f16 d, f16 dmin, 12 bytes of scales and minima, 32 that hold each element's fifth bit, 128 of the others:
//! `d·scale·q - dmin·min`, q in 0..=31 (`block_q5_K` of ggml).

use crate::q4_k::scale_and_min;
use crate::scales::half_at;
use crate::storage::Storage;
use crate::tensor::Row;

/// Registry entry of Q5_K.
pub(crate) struct Q5K;

/// Elements of a block.
const ELEMENTS: usize = 256;
/// Bytes of a block.
const BYTES: usize = 176;

impl Storage for Q5K {
    fn name(&self) -> String {
        "q5_k".to_string()
    }

    fn words(&self) -> String {
        "Q5_K".to_string()
    }

    fn block(&self) -> (u64, u64) {
        (ELEMENTS as u64, BYTES as u64)
    }

    fn read_row(&self, row: &Row, out: &mut [f32]) {
        row.read_blocks(BYTES, read, out);
    }
}

fn read(block: &[u8], out: &mut [f32; ELEMENTS]) {
    let (d, dmin, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    let (high, bytes) = (&block[16..48], &block[48..]);
    for (i, values) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(packed, i);
        let (step, offset) = (d * scale, dmin * min);
        for ((value, b), h) in values.iter_mut().zip(&bytes[32 * (i / 2)..]).zip(high) {
            let q = if i % 2 == 0 { b & 15 } else { b >> 4 };
            *value = step * f32::from(q | (h >> i & 1) << 4) - offset;
        }
    }
}
