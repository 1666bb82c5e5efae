//! The inner loop of f32 and bf16 weights.
//!
//! In: a panel and rows of inputs: f32, or bf16 with neighbours side by side. Out: sums with the products of a
//! range of steps added, inputs in ascending order. With inputs in f32, bf16 becomes f32 by a shift, which
//! is exact, and products and sums are f32 with fused multiply-add; with inputs in bf16 they are `dot2`'s.

use qwenc_ir::DType;
use qwenc_plan::{Inputs, Segment, CODED_UNIT, LANES, PANEL_ROWS};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::coded;
use crate::dot::dot2;
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

/// Inputs that meet the weights of one read.
fn inputs_per_read(s: &Segment) -> u64 {
    if s.dtype == DType::F32 {
        1
    } else {
        2
    }
}

/// Bytes of weights that are loaded together.
fn loaded_bytes(f: &Floats) -> u64 {
    if f.segment.coded {
        CODED_UNIT
    } else {
        LOADED * READ_BYTES
    }
}

/// Bytes of weights of a step.
pub(crate) fn step_bytes(f: &Floats) -> u64 {
    READS / LOADED * loaded_bytes(f)
}

pub(crate) fn steps(f: &Floats) -> u64 {
    u64::from(f.segment.cols) / inputs_per_read(f.segment) / READS
}

pub(crate) fn has_rest(f: &Floats) -> bool {
    !u64::from(f.segment.cols).is_multiple_of(inputs_per_read(f.segment) * READS)
}

pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    c.fold(start, end, 1, sums, |step, sums| {
        let loads = c.times(step, READS / LOADED);
        let load = |sums: Vec<Any<'c>>, i| {
            one_load(c, f, panel, x, (c.add(loads, c.int(i)), LOADED, Some(ahead)), &sums)
        };
        (0..READS / LOADED).fold(sums.to_vec(), load)
    })
}

pub(crate) fn emit_rest<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let end = u64::from(f.segment.cols).div_ceil(inputs_per_read(f.segment));
    let loads = READS / LOADED * steps(f)..end.div_ceil(LOADED);
    loads.fold(sums.to_vec(), |sums, i| {
        one_load(c, f, panel, x, (c.int(i), LOADED.min(end - LOADED * i), None), &sums)
    })
}

/// The products of some reads of those that are loaded together.
fn one_load<'c>(
    c: &Code<'c, '_>,
    f: &Floats,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (number, reads, ahead): (Int<'c>, u64, Option<Ahead<'c>>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let weights = if f.segment.coded {
        coded::unit(c, panel, number)
    } else {
        c.at(panel, c.times(number, LOADED * READ_BYTES))
    };
    if let Some(ahead) = ahead {
        ahead.fetch(c, weights, loaded_bytes(f) / 64);
    }
    let halves = |read: u64| [0, 64].map(|half| c.plus(weights, READ_BYTES * read + half));
    let plain = |read: u64| halves(read).map(|at| c.load_vec(c.vec_i32(LANES), at, 64));
    let all: Vec<[Vector; 2]> = match f.segment.coded {
        true => coded::quad(c, panel, weights).to_vec(),
        false => (0..reads).map(plain).collect(),
    };
    let mut sums = vectors(sums);
    for (weights, i) in all.into_iter().zip(0..reads) {
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
        let value = c.splat(c.load_int(c.i32(), c.at(*row, c.times(read, 4))), LANES);
        for (half, w) in weights.into_iter().enumerate() {
            sums[2 * t + half] = dot2(c, sums[2 * t + half], w, value);
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
            let value = c.splat(value, LANES);
            for (half, columns) in halves.iter().enumerate() {
                sums[2 * t + half] = c.fma(columns[i], value, sums[2 * t + half]);
            }
        }
    }
}

/// The f32 weights of 16 rows for one input (f32), or for two neighbours (bf16).
fn input_columns<'c>(c: &Code<'c, '_>, s: &Segment, bits: Vector<'c>) -> Vec<Vector<'c>> {
    match s.dtype {
        DType::F32 => vec![c.bits(bits, c.vec_f32(LANES))],
        _ => c.bf16_pair(bits).to_vec(),
    }
}
