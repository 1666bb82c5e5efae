//! Q6_K of GGUF: blocks of 256 with sixteen scales, as stored and as read.
//!
//! A block is 128 bytes of low halves, 64 of high quarters, 16 scales as i8, f16 d: `d·scale·(q - 32)`, q in 0..=63
//! (`block_q6_K` of ggml).
//!
//! A panel is, block by block, `[32]` d, then eight groups: `[32][2]` scales of 16 inputs each, then for each of these two
//! parts `[2][32][4]` bytes of lower halves, as of int4, and `[32][4]` bytes of which byte `i` has at bit `2j` the upper bits of
//! input `4j + i`. Columns that pad the last block are as stored: their inputs are 0.

use half::f16;

use crate::bf12::Dictionary;
use crate::blocks::{self, nearest, ELEMENTS};
use crate::inputs::{InputLayout, Inputs};
use crate::operand::Packed;
use crate::panel::{Panel, PANEL_ROWS, ROWS};
use crate::registry::{DType, Operand};
use crate::scales::half_at;
use crate::storage::{max_abs, Quantiser, Storage};
use crate::tensor::Row;

/// Registry entry of Q6_K, and byte offsets within its panels.
pub struct Q6K;

/// Bytes of a block.
const BYTES: usize = 210;
/// Elements that share a scale.
const PART: usize = 16;
/// Offset of the scales of a block, and of d.
const SCALES: usize = 192;
const D: usize = 208;

impl Q6K {
    /// Groups of a panel's block, each of two parts.
    pub const GROUPS: u64 = (ELEMENTS / (2 * PART)) as u64;
    /// Offset of a block's groups.
    pub const GROUPS_AT: u64 = 2 * PANEL_ROWS as u64;
    /// Offset of a group's first part, behind the scales.
    pub const PARTS: u64 = 2 * PANEL_ROWS as u64;
    /// Offset of a part's upper bits.
    pub const HIGH: u64 = 8 * PANEL_ROWS as u64;
    /// Bytes of a part.
    pub const PART_BYTES: u64 = 12 * PANEL_ROWS as u64;
    /// Bytes of a group.
    pub const GROUP_BYTES: u64 = Q6K::PARTS + 2 * Q6K::PART_BYTES;
    /// Bytes of a panel's block.
    pub const BLOCK_BYTES: u64 = Q6K::GROUPS_AT + Q6K::GROUPS * Q6K::GROUP_BYTES;
}

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

    fn quantiser(&self) -> Option<&dyn Quantiser> {
        Some(self)
    }

    fn operand(&self) -> Option<Operand> {
        Some(Operand::Q6K)
    }
}

/// Byte and shift of an element's lower four bits, and of its upper two.
fn place(at: usize) -> [(usize, usize); 2] {
    // Halves of 128 elements; in each, four runs of 32.
    let (half, run, j) = (at / 128, at % 128 / 32, at % 32);
    [(64 * half + 32 * (run % 2) + j, 4 * (run / 2)), (128 + 32 * half + j, 2 * run)]
}

/// Element of a block, 0 to 63.
fn element(block: &[u8], at: usize) -> u8 {
    let [(low, low_shift), (high, high_shift)] = place(at);
    block[low] >> low_shift & 15 | (block[high] >> high_shift & 3) << 4
}

fn read(block: &[u8], out: &mut [f32; ELEMENTS]) {
    let d = half_at(block, D);
    for (at, value) in out.iter_mut().enumerate() {
        let scale = f32::from(block[SCALES + at / PART] as i8);
        *value = d * scale * (f32::from(element(block, at)) - 32.0);
    }
}

impl Quantiser for Q6K {
    /// Each value to the nearest of 64, of which the first is the largest of its part.
    fn round(&self, values: &[f32], cols: usize, data: &mut Vec<u8>, _: &mut Vec<u8>) {
        blocks::round(values, cols, data, rounded);
    }

    fn rounding(&self, _: f64, scale: f64) -> f64 {
        // A step for the value opposite to the largest, and what rounding the part's scale adds.
        0.04 * scale + 1e-4
    }

    fn largest(&self) -> Option<f32> {
        Some(32.0 * 127.0 * f16::MAX.to_f32())
    }
}

fn rounded(values: &[f32; ELEMENTS]) -> [u8; BYTES] {
    let largest =
        |part: &[f32]| part.iter().fold(0f32, |most, v| if v.abs() > most.abs() { *v } else { most });
    let steps: Vec<f32> = values.chunks_exact(PART).map(|part| largest(part) / -32.0).collect();
    let d = f16::from_f32(max_abs(&steps) / 127.0);
    let mut block = [0; BYTES];
    block[D..].copy_from_slice(&d.to_le_bytes());
    for (i, (part, step)) in values.chunks_exact(PART).zip(steps).enumerate() {
        let scale = nearest(step, d.to_f32(), (-127.0, 127.0));
        block[SCALES + i] = scale as i8 as u8;
        for (at, value) in (PART * i..).zip(part) {
            let q = (nearest(*value, d.to_f32() * scale, (-32.0, 31.0)) + 32.0) as u8;
            let [(low, low_shift), (high, high_shift)] = place(at);
            block[low] |= (q & 15) << low_shift;
            block[high] |= (q >> 4) << high_shift;
        }
    }
    block
}

impl Packed for Q6K {
    fn name(&self) -> String {
        Storage::name(self)
    }

    fn source(&self) -> DType {
        DType::Q6K
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        Q6K::BLOCK_BYTES * u64::from(cols.div_ceil(ELEMENTS as u32))
    }

    fn group_bytes(&self, _width: u64) -> u64 {
        Q6K::GROUP_BYTES
    }

    fn input_layout(&self) -> Option<InputLayout> {
        Some(InputLayout::K)
    }

    fn inputs(&self) -> &'static [Inputs] {
        &[Inputs::Int16, Inputs::Int8]
    }

    /// int8 inputs add 2e-5 to 2e-4 of a product's squared size, the heavier their tails the more; rounding weights of a
    /// normal distribution to this format, 4e-4.
    fn usual_inputs(&self, tolerant: bool) -> Inputs {
        match tolerant {
            true => Inputs::Int8,
            false => Inputs::Int16,
        }
    }

    fn pack(&self, panel: &Panel, _dictionary: &Dictionary, out: &mut [u8]) {
        blocks::pack(panel, (BYTES, Q6K::BLOCK_BYTES), out, pack_block);
    }
}

/// Writes a row's block to its lane.
fn pack_block(block: &[u8], lane: usize, out: &mut [u8]) {
    let (head, groups) = out.split_at_mut(Q6K::GROUPS_AT as usize);
    head[2 * lane..][..2].copy_from_slice(&block[D..]);
    for (i, group) in groups.chunks_exact_mut(Q6K::GROUP_BYTES as usize).enumerate() {
        let (scales, parts) = group.split_at_mut(Q6K::PARTS as usize);
        for (p, part) in parts.chunks_exact_mut(Q6K::PART_BYTES as usize).enumerate() {
            scales[2 * lane + p] = block[SCALES + 2 * i + p];
            for k in 0..PART {
                let (q, quad, byte) = (element(block, PART * (2 * i + p) + k), k / 4, k % 4);
                part[4 * (quad / 2 * ROWS + lane) + byte] |= (q & 15) << (4 * (quad % 2));
                part[Q6K::HIGH as usize + 4 * lane + byte] |= (q >> 4) << (2 * quad);
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
    fn zeros_tiny_and_large_values_are_finite() {
        assert_eq!(read_back([0.0; ELEMENTS]), [0.0; ELEMENTS]);
        assert_eq!(read_back([f32::from_bits(1); ELEMENTS]), [0.0; ELEMENTS]);
        let most = Q6K.largest().expect("there is one");
        let mut large = [0.0; ELEMENTS];
        (large[0], large[40]) = (most, -most);
        let found = read_back(large);
        assert!((found[0] - most).abs() < 0.01 * most && (found[40] + most).abs() < 0.01 * most);
        assert!(found.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn scales_have_either_sign() {
        let values = std::array::from_fn(|i| if i < 128 { 1.0 } else { -1.0 });
        let block = rounded(&values);
        let scales: Vec<i8> = block[SCALES..D].iter().map(|&b| b as i8).collect();
        assert_eq!(scales, [[-127; 8], [127; 8]].concat());
        assert!(read_back(values).iter().zip(values).all(|(a, b)| (a - b).abs() < 1e-3));
    }
}
