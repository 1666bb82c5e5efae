//! Packings of a matrix's rows in other formats, and their conversion to the form of a model.bin.
//!
//! In: a row's bytes as a file has them. Out: little-endian floats, integers or scales. Invariant: integers and
//! scales come out as they are stored, moved and never rounded. A row is a whole number of blocks: readers have checked that.

/// Values of a block of Q8_0 and Q4_0.
pub(crate) const SMALL_BLOCK: usize = 32;
const Q8_BYTES: usize = 34;
const Q4_BYTES: usize = 18;

/// Packing of a stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// The packing of a model.bin.
    Plain,
    /// The integers of Q8_0.
    Q8Integers,
    /// The scales of Q8_0.
    Q8Scales,
    /// The integers of Q4_0.
    Q4Integers,
    /// The scales of Q4_0.
    Q4Scales,
}

impl Packing {
    /// Values and bytes of a block, where rows are blocks.
    pub fn block(self) -> Option<(usize, usize)> {
        match self {
            Packing::Plain => None,
            Packing::Q8Integers | Packing::Q8Scales => Some((SMALL_BLOCK, Q8_BYTES)),
            Packing::Q4Integers | Packing::Q4Scales => Some((SMALL_BLOCK, Q4_BYTES)),
        }
    }

    /// The type as GGUF calls it, where rows are blocks.
    pub fn stored_name(self) -> Option<&'static str> {
        match self {
            Packing::Plain => None,
            Packing::Q8Integers | Packing::Q8Scales => Some("Q8_0"),
            Packing::Q4Integers | Packing::Q4Scales => Some("Q4_0"),
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
            }
        }
    }
}

/// Sixteen bytes with values 0 to 15 low and 16 to 31 high, to bytes of neighbours.
fn q4_integers(packed: &[u8], out: &mut Vec<u8>) {
    out.extend(packed.chunks_exact(2).map(|b| b[0] & 15 | (b[1] & 15) << 4));
    out.extend(packed.chunks_exact(2).map(|b| b[0] >> 4 | b[1] & 0xf0));
}
