//! bf12: bf16 compressed to 12 bits, without loss; only as read.
//!
//! In: the rows of a panel. Out: the same, its upper bytes (sign and seven bits of exponent) replaced by
//! numbers of 4 bits. Invariant: every element comes back bit for bit.
//!
//! A matrix's elements differ little in size, which is why exponents of trained weights carry less than 3 bits (Zhang
//! et al. 2025, "70% Size, 100% Accuracy: Lossless LLM Compression"). An upper byte stands for two powers of two of one
//! sign, and 15 of them for nearly all elements of a panel. Those are its dictionary; the others are exceptions,
//! of which a panel has room for one in [`ELEMENTS_PER_EXCEPTION`].
//!
//! A panel, in bytes:
//! - 0: the dictionary, 16 upper bytes; the first is 0. 16: the number of exceptions, u32. Zeros up to 64.
//! - 64: a unit for each quad of inputs, of three times 64 bytes: lower bytes of its first two inputs, of the
//!   other two, and codes, the first two inputs' in lower halves. Row `16h + r`, input `2p + j` of the
//!   quad: byte `16·(r / 4) + 8h + 2·(r % 4) + j` of part `p`, and its code in the same byte of the third. So
//!   interleaving a part with its upper bytes, in every 16 bytes, gives both halves of a plain read.
//! - then exceptions, in ascending order: `32 · input + row`, u32, and the element as f32. Where they
//!   stand a unit has 0.

use crate::bf16;
use crate::inputs::Inputs;
use crate::operand::Packed;
use crate::panel::{round_up, Misfit, Panel, LANES, PANEL_ROWS, ROWS};
use crate::registry::DType;

/// Elements of a panel for each exception that it has room for.
const ELEMENTS_PER_EXCEPTION: u64 = 512;
/// Room for exceptions in small panels.
const FEWEST_EXCEPTIONS: u64 = 16;
const HEAD_BYTES: u64 = 64;
const EXCEPTION_BYTES: u64 = 8;

/// Registry entry of bf12, and byte offsets within its panels.
pub struct Bf12;

impl Bf12 {
    /// Bytes of a unit: four inputs of every row of a panel.
    pub const UNIT: u64 = 6 * PANEL_ROWS as u64;
    /// Offset of the number of exceptions.
    pub const COUNT: u64 = 16;
    /// Offset of the first unit.
    pub const UNITS: u64 = HEAD_BYTES;

    /// Exceptions that a panel of `cols` columns has room for.
    pub fn room(cols: u32) -> u64 {
        (u64::from(PANEL_ROWS) * u64::from(cols) / ELEMENTS_PER_EXCEPTION).max(FEWEST_EXCEPTIONS)
    }

    /// Offset of the first exception.
    pub fn exceptions_at(cols: u32) -> u64 {
        HEAD_BYTES + u64::from(cols.div_ceil(4)) * Bf12::UNIT
    }

    /// Position within a quad's unit: the byte of row `row`, input `input` (of four) within its part, and its part.
    pub fn byte(row: u32, input: u32) -> (u64, u64) {
        let (half, row) = (row / LANES, row % LANES);
        let byte = 16 * (row / 4) + 8 * half + 2 * (row % 4) + input % 2;
        (u64::from(byte), u64::from(input / 2))
    }
}

impl Packed for Bf12 {
    fn name(&self) -> String {
        "bf12".to_string()
    }

    fn source(&self) -> DType {
        DType::Bf16
    }

    fn panel_bytes(&self, cols: u32) -> u64 {
        Bf12::exceptions_at(cols) + round_up(EXCEPTION_BYTES * Bf12::room(cols), 64)
    }

    fn inputs(&self) -> &'static [Inputs] {
        bf16::INPUTS
    }

    fn has_dictionary(&self) -> bool {
        true
    }

    fn dictionary(&self, panel: &Panel) -> Result<Dictionary, Misfit> {
        let (dictionary, exceptions) = Dictionary::of(panel.stored().into_iter().flatten());
        match exceptions <= Bf12::room(panel.cols) {
            true => Ok(dictionary),
            false => Err(Misfit { exceptions }),
        }
    }

    fn pack(&self, panel: &Panel, dictionary: &Dictionary, out: &mut [u8]) {
        dictionary.write(&panel.stored(), out);
    }
}

/// Dictionary of a panel: the upper byte that each code stands for. The first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    upper: [u8; 16],
}

impl Dictionary {
    /// The commonest upper bytes of rows of bf16, of equally common ones the lower; and the number of elements that have others.
    fn of<'a>(rows: impl Iterator<Item = &'a [u8]>) -> (Dictionary, u64) {
        // Neighbours are often equal: counting them apart, one addition need not wait for the other.
        let mut counts = [[0u64; 256]; 2];
        for row in rows {
            for four in row.chunks(4) {
                counts[0][usize::from(four[1])] += 1;
                if let Some(&upper) = four.get(3) {
                    counts[1][usize::from(upper)] += 1;
                }
            }
        }
        let count = |upper: u8| counts[0][usize::from(upper)] + counts[1][usize::from(upper)];
        let mut by_count: Vec<u8> = (1..=255).filter(|&upper| count(upper) > 0).collect();
        by_count.sort_by_key(|&upper| std::cmp::Reverse(count(upper)));
        let mut upper = [0; 16];
        upper[1..].iter_mut().zip(&by_count).for_each(|(entry, &byte)| *entry = byte);
        let exceptions = by_count.iter().skip(15).map(|&upper| count(upper)).sum();
        (Dictionary { upper }, exceptions)
    }

    /// Code of each upper byte; none for exceptions.
    fn codes(&self) -> [Option<u8>; 256] {
        let mut codes = [None; 256];
        // Unused entries are zeros like the first, whose code it is.
        for (code, &byte) in (0..16).zip(&self.upper).rev() {
            codes[usize::from(byte)] = Some(code);
        }
        codes
    }

    /// Writes a panel. `rows` are those that the dictionary was made from, and its exceptions have room.
    fn write(&self, rows: &[Option<&[u8]>; ROWS], out: &mut [u8]) {
        out.fill(0);
        out[..16].copy_from_slice(&self.upper);
        let codes = self.codes();
        let cols = rows.iter().flatten().next().map_or(0, |row| row.len() / 2);
        let unit = Bf12::UNIT as usize;
        let (panel, exceptions) = out.split_at_mut(HEAD_BYTES as usize + cols.div_ceil(4) * unit);
        let mut places = exceptions.chunks_exact_mut(EXCEPTION_BYTES as usize);
        let mut found = Vec::new();
        for (lane, row) in (0..).zip(rows) {
            let Some(row) = row else { continue };
            let places: [(u64, u64); 4] = std::array::from_fn(|input| Bf12::byte(lane, input as u32));
            for (quad, inputs) in row.chunks(8).enumerate() {
                let unit = &mut panel[HEAD_BYTES as usize + quad * unit..][..unit];
                for ((element, (byte, part)), input) in inputs.chunks(2).zip(places).zip(4 * quad as u32..) {
                    let (byte, part) = (byte as usize, part as usize);
                    match codes[usize::from(element[1])] {
                        Some(code) => {
                            unit[64 * part + byte] = element[0];
                            unit[128 + byte] |= code << (4 * part);
                        }
                        None => found.push((PANEL_ROWS * input + lane, [0, 0, element[0], element[1]])),
                    }
                }
            }
        }
        let count = Bf12::COUNT as usize;
        panel[count..count + 4].copy_from_slice(&(found.len() as u32).to_le_bytes());
        found.sort_unstable();
        for ((at, value), place) in found.into_iter().zip(&mut places) {
            place[..4].copy_from_slice(&at.to_le_bytes());
            place[4..].copy_from_slice(&value);
        }
    }
}
