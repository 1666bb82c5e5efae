//! The inner loop of weights that are floats.
//!
//! In: a panel and rows of inputs: f32, or bf16 with neighbours side by side. Out: sums with the products of a
//! range of steps added, inputs in ascending order. With inputs in f32, bf16 becomes f32 by a shift, which
//! is exact, and products and sums are f32 with fused multiply-add; with inputs in bf16 they are `dot2`'s. Compressed weights
//! are read from the panel, or from a copy that is made of them here: the sums are the same to the bit.

use std::ops::Range;

use qwenc_formats::{Inputs, LANES};
use qwenc_plan::Segment;

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::decoders::{Compressed, FloatDecoder, PanelRows};
use crate::isa::dot2;
use crate::names::{half, halves, Named};
use crate::spans::SpanPanel;
use crate::tile::{vectors, Ahead};

/// Reads of weights in a step, so that the loop's counter costs little. A read is two vectors.
const READS: u64 = 4;
/// Reads that are loaded together.
const LOADED: u64 = 2;

/// The weights of a linear and the form of its inputs.
pub(crate) struct Floats {
    decoder: Box<dyn FloatDecoder>,
    cols: u32,
    inputs: Inputs,
}

impl Floats {
    pub fn of(decoder: Box<dyn FloatDecoder>, segment: &Segment, inputs: Inputs) -> Floats {
        Floats { decoder, cols: segment.cols, inputs }
    }

    /// Decompressor of panels; none for formats that are read as they are packed.
    pub fn compressed(&self) -> Option<&dyn Compressed> {
        self.decoder.compressed()
    }

    /// Inputs of a row.
    fn cols(&self) -> u64 {
        u64::from(self.cols)
    }

    /// Inputs of a step.
    pub fn step_inputs(&self) -> u64 {
        READS * self.decoder.inputs_per_read()
    }

    /// Bytes of a step's weights where the inner loop reads them.
    pub fn step_bytes(&self) -> u64 {
        READS * self.decoder.read_bytes()
    }

    /// Whole steps of a row.
    fn steps(&self) -> u64 {
        self.cols() / self.step_inputs()
    }

    /// Whether a shorter step follows.
    pub fn has_rest(&self) -> bool {
        !self.cols().is_multiple_of(self.step_inputs())
    }

    /// Reads of a row.
    fn reads(&self) -> u64 {
        self.cols().div_ceil(self.decoder.inputs_per_read())
    }

    /// Loads of the shorter step.
    fn rest(&self) -> Range<u64> {
        loads(self.steps())..self.reads().div_ceil(LOADED)
    }

    /// Offset of the first load in a panel, and bytes of each.
    fn stored(&self) -> (u64, u64) {
        let plain = (0, LOADED * self.decoder.read_bytes());
        self.compressed().map_or(plain, |compressed| compressed.loads())
    }

    /// Bytes in a panel of so many steps.
    pub fn stored_bytes(&self, steps: u64) -> u64 {
        loads(steps) * self.stored().1
    }

    /// Place of a load in a panel.
    fn load_at<'c>(&self, c: &Code<'c, '_>, panel: SpanPanel<'c>, number: Int<'c>) -> Ptr<'c> {
        let (first, bytes) = self.stored();
        c.at(c.plus(panel.origin, first), c.times(number, bytes))
    }

    /// The weights of a load.
    fn load<'c, 'a>(&'a self, c: &'a Code<'c, '_>, panel: SpanPanel<'c>, number: Int<'c>) -> Reads<'c, 'a> {
        match self.compressed() {
            Some(compressed) => {
                Box::new(compressed.load(c, panel.at, self.load_at(c, panel, number)).into_iter())
            }
            None => self.plain(c, panel.origin, number),
        }
    }

    /// The weights of a load where they are not compressed.
    fn plain<'c, 'a>(&'a self, c: &'a Code<'c, '_>, reads: Ptr<'c>, number: Int<'c>) -> Reads<'c, 'a> {
        let first = c.times(number, LOADED);
        Box::new((0..LOADED).map(move |read| self.read(c, reads, c.add(first, c.int(read)))))
    }

    /// The words of one read.
    fn read<'c>(&self, c: &Code<'c, '_>, reads: Ptr<'c>, read: Int<'c>) -> [Vector<'c>; 2] {
        let read = c.at(reads, c.times(read, self.decoder.read_bytes()));
        halves("w", PanelRows::halves(c).map(|half| self.decoder.words(c, read, half)))
    }
}

/// Loads before this step.
fn loads(step: u64) -> u64 {
    READS / LOADED * step
}

/// Place from which weights are read.
#[derive(Clone, Copy)]
pub(crate) enum Place<'c> {
    /// In the panel.
    Panel,
    /// Here they stand as in a plain panel, from the first that are read.
    Copy(Ptr<'c>),
}

pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    (panel, place): (SpanPanel<'c>, Place<'c>),
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    c.fold("step", start, end, 1, sums, |step, sums| {
        let [start, step] = [start, step].map(|step| c.times(step, loads(1)));
        let load = |sums: Vec<Any<'c>>, i| {
            let number = c.add(step, c.int(i));
            let weights = match place {
                Place::Panel => f.load(c, panel, number),
                Place::Copy(copy) => f.plain(c, copy, c.sub(number, start)),
            };
            products(c, f, (weights, Some((ahead, panel))), x, number, &sums)
        };
        (0..loads(1)).fold(sums.to_vec(), load)
    })
}

pub(crate) fn emit_rest<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    (panel, place): (SpanPanel<'c>, Place<'c>),
    x: &[Ptr<'c>],
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let (end, first) = (f.reads(), f.rest().start);
    f.rest().fold(sums.to_vec(), |sums, number| {
        let (base, first) = match place {
            Place::Panel => (panel.origin, 0),
            Place::Copy(copy) => (copy, first),
        };
        let reads = LOADED * number..end.min(LOADED * (number + 1));
        let weights = reads.map(|read| f.read(c, base, c.int(read - LOADED * first)));
        products(c, f, (Box::new(weights), None), x, c.int(number), &sums)
    })
}

/// Copies steps `start .. end` of a compressed panel as they stand in a plain one.
pub(crate) fn copy<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    panel: SpanPanel<'c>,
    (start, end): (Int<'c>, Int<'c>),
    to: Ptr<'c>,
) {
    copy_loads(c, f, panel, [start, end].map(|step| c.times(step, loads(1))), to);
}

/// Copies the shorter step.
pub(crate) fn copy_rest<'c>(c: &Code<'c, '_>, f: &Floats, panel: SpanPanel<'c>, to: Ptr<'c>) {
    copy_loads(c, f, panel, [f.rest().start, f.rest().end].map(|number| c.int(number)), to);
}

fn copy_loads<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    panel: SpanPanel<'c>,
    [first, end]: [Int<'c>; 2],
    to: Ptr<'c>,
) {
    c.for_each("load", first, end, 1, |number| {
        let to = c.at(to, c.times(c.sub(number, first), LOADED * f.decoder.read_bytes()));
        for (i, half) in (0..).zip(f.load(c, panel, number).flatten()) {
            c.store(c.plus(to, 64 * i), half, 64);
        }
    });
}

/// Weights read by read: of plain ones, instructions stand where one is taken, so that registers hold no more than
/// they must.
type Reads<'c, 'a> = Box<dyn Iterator<Item = [Vector<'c>; 2]> + 'a>;

/// The products of some reads of a load, which asks for what lies ahead in the panel.
fn products<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    (weights, ahead): (Reads<'c, '_>, Option<(Ahead<'c>, SpanPanel<'c>)>),
    x: &[Ptr<'c>],
    number: Int<'c>,
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let mut sums = vectors("sum", sums);
    let lines = f.stored().1 / 64;
    for (i, weights) in (0..).zip(weights) {
        if let Some((ahead, panel)) = ahead {
            // Also keeps LLVM from loading the next read early, for which there are no registers.
            let at = c.plus(f.load_at(c, panel, number), 64 * 2 * i);
            ahead.fetch(c, at, lines.saturating_sub(2 * i).min(2));
        }
        let read = c.add(c.times(number, LOADED), c.int(i));
        match f.inputs {
            Inputs::Bf16 => pairs(c, weights, x, read, &mut sums),
            Inputs::F32 | Inputs::Int8 | Inputs::Int16 => columns(c, f, weights, x, read, &mut sums),
        }
    }
    sums.into_iter().map(Into::into).collect()
}

/// A pair of bf16 inputs with the weights of one read.
fn pairs<'c>(
    c: &Code<'c, '_>,
    weights: [Vector<'c>; 2],
    x: &[Ptr<'c>],
    read: Int<'c>,
    sums: &mut [Vector<'c>],
) {
    for (t, row) in x.iter().enumerate() {
        let value = c.splat(c.load_int(c.i32(), c.at(*row, c.times(read, 4))), LANES).named("x");
        for (i, w) in (2 * t..).zip(weights) {
            sums[i] = dot2(c, sums[i], w, value).named(&half("sum", i));
        }
    }
}

/// f32 inputs, each with its column of weights.
fn columns<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    weights: [Vector<'c>; 2],
    x: &[Ptr<'c>],
    read: Int<'c>,
    sums: &mut [Vector<'c>],
) {
    let per_read = f.decoder.inputs_per_read();
    let inputs = c.times(read, 4 * per_read);
    let halves = weights.map(|half| {
        let columns = f.decoder.columns(c, half);
        columns.into_iter().map(|w| w.named("w.column")).collect::<Vec<_>>()
    });
    for i in 0..per_read as usize {
        for (t, row) in x.iter().enumerate() {
            let value = c.load_f32(c.at(*row, c.add(inputs, c.int(4 * i as u64))));
            let value = c.splat(value, LANES).named("x");
            for (n, columns) in (2 * t..).zip(&halves) {
                sums[n] = c.fma(columns[i], value, sums[n]).named(&half("sum", n));
            }
        }
    }
}
