//! The inner loop of f32 and bf16 weights with inputs in f32.
//!
//! In: a panel and rows of f32 inputs. Out: sums with the products of a range of steps added. bf16
//! becomes f32 by a shift, which is exact; products and sums are f32 with fused multiply-add, inputs in
//! ascending order.

use qwenc_ir::DType;
use qwenc_plan::{Segment, LANES, PANEL_ROWS};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::tile::{vectors, Ahead};

/// Reads of 128 bytes of weights in a step, so that the loop's counter costs little.
const READS: u64 = 4;
const READ_BYTES: u64 = 4 * PANEL_ROWS as u64;
/// Bytes of weights of a step.
pub(crate) const STEP_BYTES: u64 = READS * READ_BYTES;

/// Inputs that meet the weights of one read.
fn inputs_per_read(s: &Segment) -> u64 {
    if s.dtype == DType::F32 {
        1
    } else {
        2
    }
}

pub(crate) fn steps(s: &Segment) -> u64 {
    u64::from(s.cols) / inputs_per_read(s) / READS
}

pub(crate) fn has_rest(s: &Segment) -> bool {
    !u64::from(s.cols).is_multiple_of(inputs_per_read(s) * READS)
}

pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    s: &Segment,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    c.fold(start, end, 1, sums, |step, sums| {
        let first = c.times(step, READS);
        let read =
            |sums: Vec<Any<'c>>, i| one_read(c, s, panel, x, (c.add(first, c.int(i)), Some(ahead)), &sums);
        (0..READS).fold(sums.to_vec(), read)
    })
}

pub(crate) fn emit_rest<'c>(
    c: &Code<'c, '_>,
    s: &Segment,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let reads = READS * steps(s)..u64::from(s.cols).div_ceil(inputs_per_read(s));
    reads.fold(sums.to_vec(), |sums, i| one_read(c, s, panel, x, (c.int(i), None), &sums))
}

fn one_read<'c>(
    c: &Code<'c, '_>,
    s: &Segment,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (read, ahead): (Int<'c>, Option<Ahead<'c>>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let mut sums = vectors(sums);
    let weights = c.at(panel, c.times(read, READ_BYTES));
    let inputs = c.times(read, 4 * inputs_per_read(s));
    if let Some(ahead) = ahead {
        ahead.fetch(c, weights);
    }
    let halves: Vec<Vec<Vector>> =
        (0..2).map(|half| input_columns(c, s, c.plus(weights, 64 * half))).collect();
    for i in 0..inputs_per_read(s) as usize {
        for (t, row) in x.iter().enumerate() {
            let value = c.load_f32(c.at(*row, c.add(inputs, c.int(4 * i as u64))));
            let value = c.splat(value, LANES);
            for (half, columns) in halves.iter().enumerate() {
                sums[2 * t + half] = c.fma(columns[i], value, sums[2 * t + half]);
            }
        }
    }
    sums.into_iter().map(Into::into).collect()
}

/// The f32 weights of 16 rows for one input (f32), or for two neighbours (bf16).
fn input_columns<'c>(c: &Code<'c, '_>, s: &Segment, at: Ptr<'c>) -> Vec<Vector<'c>> {
    match s.dtype {
        DType::F32 => vec![c.load_vec(c.vec_f32(LANES), at, 64)],
        _ => c.bf16_pair(c.load_vec(c.vec_i32(LANES), at, 64)).to_vec(),
    }
}
