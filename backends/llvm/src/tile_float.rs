//! The inner loop of f32 and bf16 weights.
//!
//! In: a panel and rows of inputs: f32, or bf16 with neighbours side by side. Out: sums with the products of a
//! range of steps added, inputs in ascending order. With inputs in f32, bf16 becomes f32 by a shift, which
//! is exact, and products and sums are f32 with fused multiply-add; with inputs in bf16 they are `dot2`'s. Compressed weights
//! are read from the panel, or from a copy that is made of them here: the sums are the same to the bit.

use std::ops::Range;

use qwenc_formats::{Bf12, Inputs, Operand, LANES, PANEL_ROWS};
use qwenc_plan::Segment;

use crate::bf12;
use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::dot::dot2;
use crate::names::{half, halves, Named};
use crate::tile::{vectors, Ahead};

/// Reads of weights in a step, so that the loop's counter costs little. A read is two vectors.
const READS: u64 = 4;
/// Reads that are loaded together.
const LOADED: u64 = 2;
const READ_BYTES: u64 = 4 * PANEL_ROWS as u64;

/// The weights of a linear and the form of its inputs.
pub(crate) struct Floats<'a> {
    pub segment: &'a Segment,
    pub inputs: Inputs,
}

impl Floats<'_> {
    /// Whether panels are read as bf16 in 12 bits.
    pub fn compressed(&self) -> bool {
        self.segment.format == Operand::Bf12
    }
}

/// Inputs of a step of bf16 weights.
pub(crate) const STEP_INPUTS: u64 = 2 * READS;

/// Inputs that meet the weights of one read.
fn inputs_per_read(s: &Segment) -> u64 {
    if s.format == Operand::F32 {
        1
    } else {
        2
    }
}

/// Bytes of a step's weights where the inner loop reads them.
pub(crate) const STEP_BYTES: u64 = READS * READ_BYTES;

pub(crate) fn steps(f: &Floats) -> u64 {
    u64::from(f.segment.cols) / inputs_per_read(f.segment) / READS
}

pub(crate) fn has_rest(f: &Floats) -> bool {
    !u64::from(f.segment.cols).is_multiple_of(inputs_per_read(f.segment) * READS)
}

/// Loads before this step.
fn loads(step: u64) -> u64 {
    READS / LOADED * step
}

/// Loads of the shorter step.
fn rest(f: &Floats) -> Range<u64> {
    loads(steps(f))..u64::from(f.segment.cols).div_ceil(inputs_per_read(f.segment)).div_ceil(LOADED)
}

/// Where weights are read.
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
    (panel, place): (Ptr<'c>, Place<'c>),
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    c.fold("step", start, end, 1, sums, |step, sums| {
        let [start, step] = [start, step].map(|step| c.times(step, loads(1)));
        let load = |sums: Vec<Any<'c>>, i| {
            let number = c.add(step, c.int(i));
            let weights = match place {
                Place::Panel => load(c, f, panel, number),
                Place::Copy(copy) => plain(c, copy, c.sub(number, start)),
            };
            products(c, f, (weights, Some((ahead, panel))), x, number, &sums)
        };
        (0..loads(1)).fold(sums.to_vec(), load)
    })
}

pub(crate) fn emit_rest<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    (panel, place): (Ptr<'c>, Place<'c>),
    x: &[Ptr<'c>],
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let end = u64::from(f.segment.cols).div_ceil(inputs_per_read(f.segment));
    let first = rest(f).start;
    rest(f).fold(sums.to_vec(), |sums, number| {
        let (base, first) = match place {
            Place::Panel => (panel, 0),
            Place::Copy(copy) => (copy, first),
        };
        let reads = LOADED * number..end.min(LOADED * (number + 1));
        let weights = reads.map(|read| plain_read(c, base, c.int(read - LOADED * first)));
        products(c, f, (Box::new(weights), None), x, c.int(number), &sums)
    })
}

/// Copies steps `start .. end` of a compressed panel as they stand in a plain one.
pub(crate) fn copy<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    panel: Ptr<'c>,
    (start, end): (Int<'c>, Int<'c>),
    to: Ptr<'c>,
) {
    copy_loads(c, f, panel, [start, end].map(|step| c.times(step, loads(1))), to);
}

/// Copies the shorter step.
pub(crate) fn copy_rest<'c>(c: &Code<'c, '_>, f: &Floats, panel: Ptr<'c>, to: Ptr<'c>) {
    copy_loads(c, f, panel, [rest(f).start, rest(f).end].map(|number| c.int(number)), to);
}

fn copy_loads<'c>(c: &Code<'c, '_>, f: &Floats, panel: Ptr<'c>, [first, end]: [Int<'c>; 2], to: Ptr<'c>) {
    c.for_each("load", first, end, 1, |number| {
        let to = c.at(to, c.times(c.sub(number, first), LOADED * READ_BYTES));
        for (i, half) in (0..).zip(load(c, f, panel, number).flatten()) {
            c.store(c.plus(to, 64 * i), half, 64);
        }
    });
}

/// Bytes of the panel that are loaded together.
fn stored_bytes(f: &Floats) -> u64 {
    if f.compressed() {
        Bf12::UNIT
    } else {
        LOADED * READ_BYTES
    }
}

/// Where they are.
fn stored<'c>(c: &Code<'c, '_>, f: &Floats, panel: Ptr<'c>, number: Int<'c>) -> Ptr<'c> {
    let first = if f.compressed() { Bf12::UNITS } else { 0 };
    c.at(c.plus(panel, first), c.times(number, stored_bytes(f)))
}

/// Weights read by read: of plain ones, instructions stand where one is taken, so that registers hold no more than
/// they must.
type Reads<'c, 'a> = Box<dyn Iterator<Item = [Vector<'c>; 2]> + 'a>;

/// The weights of a load.
fn load<'c, 'a>(c: &'a Code<'c, '_>, f: &Floats, panel: Ptr<'c>, number: Int<'c>) -> Reads<'c, 'a> {
    match f.compressed() {
        true => Box::new(bf12::quad(c, panel, stored(c, f, panel, number)).into_iter()),
        false => plain(c, panel, number),
    }
}

fn plain<'c, 'a>(c: &'a Code<'c, '_>, panel: Ptr<'c>, number: Int<'c>) -> Reads<'c, 'a> {
    let first = c.times(number, LOADED);
    Box::new((0..LOADED).map(move |read| plain_read(c, panel, c.add(first, c.int(read)))))
}

fn plain_read<'c>(c: &Code<'c, '_>, panel: Ptr<'c>, read: Int<'c>) -> [Vector<'c>; 2] {
    let at = c.at(panel, c.times(read, READ_BYTES));
    halves("w", [0, 64].map(|half| c.load_vec(c.vec_i32(LANES), c.plus(at, half), 64)))
}

/// The products of some reads of a load, which asks for what lies ahead in the panel.
fn products<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    (weights, ahead): (Reads<'c, '_>, Option<(Ahead<'c>, Ptr<'c>)>),
    x: &[Ptr<'c>],
    number: Int<'c>,
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let mut sums = vectors("sum", sums);
    let lines = stored_bytes(f) / 64;
    for (i, weights) in (0..).zip(weights) {
        if let Some((ahead, panel)) = ahead {
            // Also keeps LLVM from loading the next read early, for which there are no registers.
            let at = c.plus(stored(c, f, panel, number), 64 * 2 * i);
            ahead.fetch(c, at, lines.saturating_sub(2 * i).min(2));
        }
        let read = c.add(c.times(number, LOADED), c.int(i));
        match f.inputs {
            Inputs::Bf16 => pairs(c, weights, x, read, &mut sums),
            _ => columns(c, f.segment, weights, x, read, &mut sums),
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
    s: &Segment,
    weights: [Vector<'c>; 2],
    x: &[Ptr<'c>],
    read: Int<'c>,
    sums: &mut [Vector<'c>],
) {
    let inputs = c.times(read, 4 * inputs_per_read(s));
    let halves = weights.map(|half| input_columns(c, s, half));
    for i in 0..inputs_per_read(s) as usize {
        for (t, row) in x.iter().enumerate() {
            let value = c.load_f32(c.at(*row, c.add(inputs, c.int(4 * i as u64))));
            let value = c.splat(value, LANES).named("x");
            for (n, columns) in (2 * t..).zip(&halves) {
                sums[n] = c.fma(columns[i], value, sums[n]).named(&half("sum", n));
            }
        }
    }
}

/// The f32 weights of 16 rows for one input (f32), or for two neighbours (bf16).
fn input_columns<'c>(c: &Code<'c, '_>, s: &Segment, bits: Vector<'c>) -> Vec<Vector<'c>> {
    match s.format == Operand::F32 {
        true => vec![c.bits(bits, c.vec_f32(LANES)).named("w.column")],
        false => c.bf16_pair(bits).map(|w| w.named("w.column")).to_vec(),
    }
}
