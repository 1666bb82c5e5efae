//! Decoders of floats: what the inner loop of floats and the embedding ask of a format.
//!
//! In: words of a panel, one for each row. Out: the f32 weights of their inputs. Invariant: a read is the words of all rows
//! for some inputs, one read after the other, but where a format is compressed.

use qwenc_formats::PANEL_ROWS;

use crate::builder::{Code, Int, Ptr, Vector};
use crate::cpu::Cpu;
use crate::decoders::PanelRows;

/// Decoder of a format of floats.
pub(crate) trait FloatDecoder {
    /// Whether kernels for this CPU can use it.
    fn runs_on(&self, _cpu: &Cpu) -> bool {
        true
    }

    /// Inputs of one read, the weights of which share a word.
    fn inputs_per_read(&self) -> u64;

    /// The f32 weights of each input of a read.
    fn columns<'c>(&self, c: &Code<'c, '_>, words: Vector<'c>) -> Vec<Vector<'c>>;

    /// Decompressor of a panel; none for formats that are read as they are packed.
    fn compressed(&self) -> Option<&dyn Compressed> {
        None
    }

    /// Bytes of a read.
    fn read_bytes(&self) -> u64 {
        4 * u64::from(PANEL_ROWS)
    }

    /// The words of a read of some rows.
    fn words<'c>(&self, c: &Code<'c, '_>, read: Ptr<'c>, rows: PanelRows<'c>) -> Vector<'c> {
        rows.integers(c, c.i32(), read)
    }

    /// Writes row `lane` of a panel to `out`: `cols` floats, and what pads the last read.
    fn gather<'c>(&self, c: &Code<'c, '_>, cols: u32, (panel, lane): (Ptr<'c>, Int<'c>), out: Ptr<'c>) {
        let inputs = self.inputs_per_read();
        c.for_each("read", c.int(0), c.int(u64::from(cols).div_ceil(inputs)), 1, |i| {
            let read = c.at(panel, c.times(i, self.read_bytes()));
            let words = self.words(c, read, PanelRows::one(lane));
            for (input, weight) in (0..).zip(self.columns(c, words)) {
                c.store(c.at(out, c.add(c.times(i, 4 * inputs), c.int(4 * input))), weight, 4);
            }
        });
    }
}

/// Loads of a compressed panel, each of which gives two reads.
pub(crate) trait Compressed {
    /// Offset of the first load in a panel, and bytes of each.
    fn loads(&self) -> (u64, u64);

    /// The reads of a load, both halves of each; what does not fit the compression is 0.
    fn load<'c>(&self, c: &Code<'c, '_>, panel: Ptr<'c>, load: Ptr<'c>) -> [[Vector<'c>; 2]; 2];

    /// Offset of the elements that do not fit the compression, in a panel of so many columns, and their greatest number.
    fn exceptions(&self, cols: u32) -> [u64; 2];
}
