//! The inner loop of bf16 weights and bf16 inputs.
//!
//! In: a panel and rows of bf16 inputs, pairs side by side. Out: sums with the products of a range of
//! steps added, pair after pair: with `vdpbf16ps`, which takes tiny numbers as zero, or in f32.

use inkwell::types::VectorType;
use qwenc_plan::{Segment, LANES, PANEL_ROWS};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::cpu::BF16;
use crate::tile::{vectors, Ahead};

/// Pairs of inputs in a step, so that the loop's counter costs little.
const PAIRS: u64 = 4;
/// Bytes of a panel's pair of columns.
const PAIR_BYTES: u64 = 4 * PANEL_ROWS as u64;
/// Bytes of weights of a step.
pub(crate) const STEP_BYTES: u64 = PAIRS * PAIR_BYTES;

pub(crate) fn steps(s: &Segment) -> u64 {
    u64::from(s.cols) / 2 / PAIRS
}

pub(crate) fn has_rest(s: &Segment) -> bool {
    !u64::from(s.cols).is_multiple_of(2 * PAIRS)
}

pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    c.fold(start, end, 1, sums, |step, sums| {
        let first = c.times(step, PAIRS);
        (0..PAIRS)
            .fold(sums.to_vec(), |sums, i| pair(c, panel, x, (c.add(first, c.int(i)), Some(ahead)), &sums))
    })
}

pub(crate) fn emit_rest<'c>(
    c: &Code<'c, '_>,
    s: &Segment,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let pairs = PAIRS * steps(s)..u64::from(s.cols).div_ceil(2);
    pairs.fold(sums.to_vec(), |sums, i| pair(c, panel, x, (c.int(i), None), &sums))
}

fn pair<'c>(
    c: &Code<'c, '_>,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (pair, ahead): (Int<'c>, Option<Ahead<'c>>),
    sums: &[Any<'c>],
) -> Vec<Any<'c>> {
    let mut sums = vectors(sums);
    let weights = c.at(panel, c.times(pair, PAIR_BYTES));
    if let Some(ahead) = ahead {
        ahead.fetch(c, weights);
    }
    let halves = [0, 64].map(|half| c.load_vec(c.vec_i32(LANES), c.plus(weights, half), 64));
    for (t, row) in x.iter().enumerate() {
        let value = c.splat(c.load_int(c.i32(), c.at(*row, c.times(pair, 4))), LANES);
        for (half, w) in halves.into_iter().enumerate() {
            sums[2 * t + half] = dot2(c, sums[2 * t + half], w, value);
        }
    }
    sums.into_iter().map(Into::into).collect()
}

/// Each lane of `sum` plus the products of both pairs of bf16.
pub(crate) fn dot2<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    if c.cpu.has(BF16) && sum.get_type().get_size() == LANES {
        let pairs: VectorType = c.cx.bf16_type().vec_type(2 * LANES);
        let args = [sum.into(), c.bits(w, pairs).into(), c.bits(x, pairs).into()];
        return c.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", &[], &args).into_vector_value();
    }
    let (first, second) = (c.bf16_pair(w), c.bf16_pair(x));
    let sum = c.fma(first[0], second[0], sum);
    c.fma(first[1], second[1], sum)
}
