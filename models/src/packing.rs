//! How other formats pack the rows of a matrix, and how a row is brought into the form of a model.bin.
//!
//! In: a row's bytes as a file has them. Out: little-endian floats, integers or scales. Invariant: integers and
//! scales of Q8_0 and Q4_0 come out as they are stored, moved and never rounded; values of Q4_1 and the K types come out
//! as the f32 that their definition gives. A row is a whole number of blocks: readers have checked that.

use half::f16;
use qwenc_formats::{DType, ScaleType};

/// Values of a block of Q8_0, Q4_0 and Q4_1.
pub(crate) const SMALL_BLOCK: usize = 32;
/// Values of a block of the K types.
pub(crate) const LARGE_BLOCK: usize = 256;
const Q8_BYTES: usize = 34;
const Q4_BYTES: usize = 18;
const Q41_BYTES: usize = 20;
const Q4K_BYTES: usize = 144;
const Q5K_BYTES: usize = 176;
const Q6K_BYTES: usize = 210;

/// What a stored row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// As a model.bin has it.
    Plain,
    /// The integers of Q8_0.
    Q8Integers,
    /// The scales of Q8_0.
    Q8Scales,
    /// The integers of Q4_0.
    Q4Integers,
    /// The scales of Q4_0.
    Q4Scales,
    /// Q4_1, as f32.
    Q4_1,
    /// Q4_K, as f32.
    Q4K,
    /// Q5_K, as f32.
    Q5K,
    /// Q6_K, as f32.
    Q6K,
}

impl Packing {
    /// Values and bytes of a block, where rows are blocks.
    pub fn block(self) -> Option<(usize, usize)> {
        match self {
            Packing::Plain => None,
            Packing::Q8Integers | Packing::Q8Scales => Some((SMALL_BLOCK, Q8_BYTES)),
            Packing::Q4Integers | Packing::Q4Scales => Some((SMALL_BLOCK, Q4_BYTES)),
            Packing::Q4_1 => Some((SMALL_BLOCK, Q41_BYTES)),
            Packing::Q4K => Some((LARGE_BLOCK, Q4K_BYTES)),
            Packing::Q5K => Some((LARGE_BLOCK, Q5K_BYTES)),
            Packing::Q6K => Some((LARGE_BLOCK, Q6K_BYTES)),
        }
    }

    /// The type as GGUF calls it, where rows are blocks.
    pub fn stored_name(self) -> Option<&'static str> {
        match self {
            Packing::Plain => None,
            Packing::Q8Integers | Packing::Q8Scales => Some("Q8_0"),
            Packing::Q4Integers | Packing::Q4Scales => Some("Q4_0"),
            _ => self.nearest().map(|(name, _)| name),
        }
    }

    /// For a type that no model.bin has: its name, and the nearest that there is.
    pub fn nearest(self) -> Option<(&'static str, DType)> {
        let int8 = DType::I8 { group: SMALL_BLOCK as u32, scales: ScaleType::F16 };
        match self {
            Packing::Q4_1 => Some(("Q4_1", int8)),
            Packing::Q4K => Some(("Q4_K", int8)),
            Packing::Q5K => Some(("Q5_K", int8)),
            Packing::Q6K => Some(("Q6_K", int8)),
            _ => None,
        }
    }

    /// Appends what the row `raw` stands for.
    pub fn unpack(self, raw: &[u8], out: &mut Vec<u8>) {
        let Some((_, bytes)) = self.block() else {
            out.extend_from_slice(raw);
            return;
        };
        for block in raw.chunks_exact(bytes) {
            match self {
                Packing::Plain => {}
                Packing::Q8Scales | Packing::Q4Scales => out.extend_from_slice(&block[..2]),
                Packing::Q8Integers => out.extend_from_slice(&block[2..]),
                Packing::Q4Integers => q4_integers(&block[2..], out),
                Packing::Q4_1 => q4_1(block, out),
                Packing::Q4K => q4k(block, out),
                Packing::Q5K => q5k(block, out),
                Packing::Q6K => q6k(block, out),
            }
        }
    }
}

/// Sixteen bytes with values 0 to 15 low and 16 to 31 high, to bytes of neighbours.
fn q4_integers(packed: &[u8], out: &mut Vec<u8>) {
    out.extend(packed.chunks_exact(2).map(|b| b[0] & 15 | (b[1] & 15) << 4));
    out.extend(packed.chunks_exact(2).map(|b| b[0] >> 4 | b[1] & 0xf0));
}

/// f16 d, f16 min, sixteen bytes with values 0 to 15 low and 16 to 31 high: `d·q + min`, q in 0..=15.
fn q4_1(block: &[u8], out: &mut Vec<u8>) {
    let (d, min, packed) = (half_at(block, 0), half_at(block, 2), &block[4..]);
    let value = |q: u8| (d * f32::from(q) + min).to_le_bytes();
    out.extend(packed.iter().flat_map(|b| value(b & 15)));
    out.extend(packed.iter().flat_map(|b| value(b >> 4)));
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Scale and minimum of 32 values, six bits each, of the twelve bytes that hold eight pairs.
fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = match i < 4 {
        true => (packed[i] & 63, packed[i + 4] & 63),
        false => (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4),
    };
    (f32::from(scale), f32::from(min))
}

/// f16 d, f16 dmin, 12 bytes of scales and minima, 128 of values: `d·scale·q - dmin·min`, q in 0..=15.
fn q4k(block: &[u8], out: &mut Vec<u8>) {
    let (d, dmin, packed, values) = (half_at(block, 0), half_at(block, 2), &block[4..16], &block[16..]);
    for i in 0..8 {
        let (scale, min) = scale_and_min(packed, i);
        let (step, offset) = (d * scale, dmin * min);
        for &b in &values[32 * (i / 2)..][..32] {
            let q = if i % 2 == 0 { b & 15 } else { b >> 4 };
            out.extend((step * f32::from(q) - offset).to_le_bytes());
        }
    }
}

/// As [`q4k`] with 32 bytes between that hold each value's fifth bit.
fn q5k(block: &[u8], out: &mut Vec<u8>) {
    let (d, dmin, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    let (high, values) = (&block[16..48], &block[48..]);
    for i in 0..8 {
        let (scale, min) = scale_and_min(packed, i);
        let (step, offset) = (d * scale, dmin * min);
        for (&b, &h) in values[32 * (i / 2)..][..32].iter().zip(high) {
            let q = if i % 2 == 0 { b & 15 } else { b >> 4 };
            let q = q | (h >> i & 1) << 4;
            out.extend((step * f32::from(q) - offset).to_le_bytes());
        }
    }
}

/// 128 bytes of low halves, 64 of high quarters, 16 scales as i8, f16 d: `d·scale·(q - 32)`, q in 0..=63.
fn q6k(block: &[u8], out: &mut Vec<u8>) {
    let d = half_at(block, 208);
    for at in 0..LARGE_BLOCK {
        // Halves of 128 values; in each, four runs of 32.
        let (half, run, j) = (at / 128, at % 128 / 32, at % 32);
        let low = block[64 * half + 32 * (run % 2) + j] >> (4 * (run / 2)) & 15;
        let high = block[128 + 32 * half + j] >> (2 * run) & 3;
        let scale = f32::from(block[192 + at / 16] as i8);
        let q = f32::from(low | high << 4) - 32.0;
        out.extend((d * scale * q).to_le_bytes());
    }
}
