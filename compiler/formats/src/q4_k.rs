//! Q4_K of GGUF: blocks of 256 with eight scales and minima of six bits, as stored and as read.
//!
//! A block is f16 d, f16 dmin, 12 bytes of scales and minima, 128 of elements: `d·scale·q - dmin·min`, q in 0..=15
//! (`block_q4_K` of ggml). Of every 64 elements the first 32 are in low halves.
//!
//! A panel is, block by block, `[32]` d, `[32]` dmin, then eight groups: `[32][2]` bytes, scale and minimum, then
//! `[4][32][4]` bytes of which byte `i` of row `l` in octet `j` has input `8j + i` in its low half and input `8j + 4 + i` in
//! its high half. Columns that pad the last block are as stored: their inputs are 0.

use half::f16;

use crate::bf12::Dictionary;
use crate::blocks::{self, nearest, ELEMENTS};
use crate::inputs::{InputLayout, Inputs};
use crate::operand::Packed;
use crate::panel::{Panel, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::scales::half_at;
use crate::storage::{Quantiser, Storage};
use crate::tensor::Row;

/// Registry entry of Q4_K, and byte offsets within its panels.
pub struct Q4K;

/// Bytes of a block.
const BYTES: usize = 144;
/// Elements that share a scale and a minimum.
const GROUP: usize = 32;
/// The largest scale and minimum.
const MOST: f32 = 63.0;

impl Q4K {
    /// Groups of a panel's block.
    pub const GROUPS: u64 = (ELEMENTS / GROUP) as u64;
    /// Offset of the dmin of a block.
    pub const MINIMA: u64 = 2 * PANEL_ROWS as u64;
    /// Offset of a block's groups.
    pub const GROUPS_AT: u64 = 4 * PANEL_ROWS as u64;
    /// Bytes of a group.
    pub const GROUP_BYTES: u64 = (2 + GROUP as u64 / 2) * PANEL_ROWS as u64;
    /// Offset of a group's elements, behind its scales and minima.
    pub const OCTETS: u64 = 2 * PANEL_ROWS as u64;
    /// Bytes of a panel's block.
    pub const BLOCK_BYTES: u64 = Q4K::GROUPS_AT + Q4K::GROUPS * Q4K::GROUP_BYTES;
}

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

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::Q4K)
    }
}

fn read(block: &[u8], out: &mut [f32; ELEMENTS]) {
    let (d, dmin, packed, bytes) = (half_at(block, 0), half_at(block, 2), &block[4..16], &block[16..]);
    for (i, values) in out.chunks_exact_mut(GROUP).enumerate() {
        let (scale, min) = scale_and_min(packed, i);
        let (step, offset) = (d * scale, dmin * min);
        for (value, b) in values.iter_mut().zip(&bytes[GROUP * (i / 2)..]) {
            *value = step * f32::from(b >> (4 * (i % 2)) & 15) - offset;
        }
    }
}

/// Scale and minimum of 32 elements, of the twelve bytes that hold eight pairs.
pub(crate) fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = pair(packed, i);
    (f32::from(scale), f32::from(min))
}

fn pair(packed: &[u8], i: usize) -> (u8, u8) {
    match i < 4 {
        true => (packed[i] & 63, packed[i + 4] & 63),
        false => (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4),
    }
}

/// Adds a pair to the twelve bytes, which have zeros for it.
fn put_pair(packed: &mut [u8], i: usize, (scale, min): (u8, u8)) {
    if i < 4 {
        packed[i] |= scale;
        packed[i + 4] |= min;
    } else {
        packed[i + 4] |= scale & 15 | min << 4;
        packed[i - 4] |= scale >> 4 << 6;
        packed[i] |= min >> 4 << 6;
    }
}

impl Quantiser for Q4K {
    /// Each value to the nearest of 16 between the smallest and the largest of its group.
    fn round(&self, values: &[f32], cols: usize, data: &mut Vec<u8>, _: &mut Vec<u8>) {
        blocks::round(values, cols, data, rounded);
    }

    fn rounding(&self, _: f64, scale: f64) -> f64 {
        // Half of a step of a fifteenth of twice the largest value, and what rounding the group's scale and minimum adds.
        0.1 * scale + 1e-4
    }

    fn largest(&self) -> Option<f32> {
        Some(MOST * f16::MAX.to_f32())
    }
}

fn rounded(values: &[f32; ELEMENTS]) -> [u8; BYTES] {
    let range = |group: &[f32]| group.iter().fold((0f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
    let steps_and_minima: Vec<(f32, f32)> = values
        .chunks_exact(GROUP)
        .map(range)
        .map(|(low, high)| ((f64::from(high) - f64::from(low)) as f32 / 15.0, -low))
        .collect();
    let largest = |of: fn(&(f32, f32)) -> f32| steps_and_minima.iter().map(of).fold(0f32, f32::max);
    let [d, dmin] = [largest(|s| s.0), largest(|s| s.1)].map(|most| f16::from_f32(most / MOST));
    let mut block = [0; BYTES];
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&dmin.to_le_bytes());
    for (i, (values, (step, min))) in values.chunks_exact(GROUP).zip(steps_and_minima).enumerate() {
        let (scale, min) = (nearest(step, d.to_f32(), (0.0, MOST)), nearest(min, dmin.to_f32(), (0.0, MOST)));
        put_pair(&mut block[4..16], i, (scale as u8, min as u8));
        let (step, offset) = (d.to_f32() * scale, dmin.to_f32() * min);
        for (b, value) in block[16 + GROUP * (i / 2)..].iter_mut().zip(values) {
            *b |= (nearest(value + offset, step, (0.0, 15.0)) as u8) << (4 * (i % 2));
        }
    }
    block
}

impl Packed for Q4K {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::Q4K
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        Q4K::BLOCK_BYTES * u64::from(cols.div_ceil(ELEMENTS as u32))
    }

    fn group_bytes(&self, _width: u64) -> u64 {
        Q4K::GROUP_BYTES
    }

    fn input_layout(&self) -> Option<InputLayout> {
        Some(InputLayout::K)
    }

    fn inputs(&self) -> &'static [Inputs] {
        &[Inputs::Int16, Inputs::Int8]
    }

    /// int8 inputs add 2e-5 to 2e-4 of a product's squared size, the heavier their tails the more; rounding weights of a
    /// normal distribution to this format, 6e-3.
    fn usual_inputs(&self, _tolerant: bool) -> Inputs {
        Inputs::Int8
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        blocks::pack(panel, (BYTES, Q4K::BLOCK_BYTES), out, pack_block);
    }
}

/// Writes a row's block to its lane.
fn pack_block(block: &[u8], lane: usize, out: &mut [u8]) {
    let (head, groups) = out.split_at_mut(Q4K::GROUPS_AT as usize);
    head[2 * lane..][..2].copy_from_slice(&block[..2]);
    head[Q4K::MINIMA as usize + 2 * lane..][..2].copy_from_slice(&block[2..4]);
    for (i, group) in groups.chunks_exact_mut(Q4K::GROUP_BYTES as usize).enumerate() {
        let (scale, min) = pair(&block[4..16], i);
        (group[2 * lane], group[2 * lane + 1]) = (scale, min);
        let stored = &block[16 + GROUP * (i / 2)..][..GROUP];
        for (octet, eight) in stored.chunks_exact(8).enumerate() {
            let to = &mut group[Q4K::OCTETS as usize + 4 * (octet * ROWS + lane)..][..4];
            for (to, k) in to.iter_mut().zip(0..) {
                let element = |b: u8| b >> (4 * (i % 2)) & 15;
                *to = element(eight[k]) | element(eight[k + 4]) << 4;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(values: [f32; ELEMENTS]) -> [f32; ELEMENTS] {
        let mut out = [0.0; ELEMENTS];
        read(&rounded(&values), &mut out);
        out
    }

    #[test]
    fn scales_and_minima_are_read_as_they_were_put() {
        let mut packed = [0; 12];
        let pairs: Vec<(u8, u8)> = (0..8).map(|i| (7 * i + 9, 63 - 8 * i)).collect();
        pairs.iter().enumerate().for_each(|(i, &pair)| put_pair(&mut packed, i, pair));
        let found: Vec<(u8, u8)> = (0..8).map(|i| pair(&packed, i)).collect();
        assert_eq!(found, pairs);
    }

    #[test]
    fn zeros_tiny_and_large_values_are_finite() {
        assert_eq!(read_back([0.0; ELEMENTS]), [0.0; ELEMENTS]);
        assert_eq!(read_back([f32::from_bits(1); ELEMENTS]), [0.0; ELEMENTS]);
        let most = MOST * f16::MAX.to_f32();
        let mut large = [0.0; ELEMENTS];
        (large[0], large[1], large[40]) = (most, -most, 1.0);
        let found = read_back(large);
        assert!((found[1] + most).abs() < 0.1 * most && (found[0] - most).abs() < 0.1 * most);
        assert!(found.iter().all(|v| v.is_finite()));
    }
}
