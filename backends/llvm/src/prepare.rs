//! A linear's prologue for one row: RMSNorm, gain, and the form in which the inner loop reads.
//!
//! In: a row of f32. Out: a prepared row: f32; bf16; or a scale and a correction per group, then per
//! group each plane's i8 inputs (`tile_int.rs` has the layout). Invariant: what is written depends on that row alone.

use qwenc_formats::{Inputs, LANES};
use qwenc_plan::{round_up, Linear};

use crate::builder::{Code, Float, Int, Ptr, Vector};
use crate::kernel::Kernel;
use crate::names::Named;
use crate::tile_int::{Quantised, RowLayout};

/// Pieces of a row: whole vectors, then what is left.
pub(crate) fn pieces(width: u64) -> Vec<(u64, u32)> {
    let lanes = u64::from(LANES);
    let mut all: Vec<(u64, u32)> = (0..width / lanes).map(|i| (i * lanes, LANES)).collect();
    if !width.is_multiple_of(lanes) {
        all.push((width / lanes * lanes, (width % lanes) as u32));
    }
    all
}

/// The row as the linear sees it: normalised, with gain.
struct Source<'c, 'a, 'k> {
    c: &'k Code<'c, 'a>,
    row: Ptr<'c>,
    gain: Option<Ptr<'c>>,
    inverse_rms: Option<Float<'c>>,
}

impl<'c> Source<'c, '_, '_> {
    fn load(&self, column: Int<'c>, lanes: u32) -> Vector<'c> {
        let (c, ty, at) = (self.c, self.c.vec_f32(lanes), self.c.times(column, 4));
        let mut x = c.load_vec(ty, c.at(self.row, at), 4).named("x");
        if let Some(scale) = self.inverse_rms {
            x = c.vmul(x, c.splat(scale, lanes));
        }
        match self.gain {
            Some(gain) => c.vmul(x, c.load_vec(ty, c.at(gain, at), 4).named("gain")),
            None => x,
        }
    }
}

/// Writes the prepared form of `row` to `out`.
pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, l: &Linear, row: Ptr<'c>, out: Ptr<'c>) {
    let c = &k.code;
    let weight = c.plan.segment(l.weight);
    let inverse_rms = l.norm.map(|eps| {
        let sum = sum_of_squares(c, row, weight.cols);
        c.inverse_rms(sum, weight.cols, eps.get()).named("inverse_rms")
    });
    let source = Source { c, row, gain: l.gain.map(|g| k.segment(g)), inverse_rms };
    match (Quantised::of(weight, l.inputs.planes()), l.inputs) {
        (Some(quantised), _) => quantise(&source, &quantised, out),
        (None, Inputs::Bf16) => round(&source, u64::from(weight.cols), out),
        (None, _) => {
            // Padding columns are zero in, and zero out.
            let end = c.int(round_up(u64::from(weight.cols), u64::from(LANES)));
            c.for_each("column", c.int(0), end, u64::from(LANES), |i| {
                c.store(c.at(out, c.times(i, 4)), source.load(i, LANES), 64);
            });
        }
    }
}

/// Over whole vectors; padding columns are zero.
fn sum_of_squares<'c>(c: &Code<'c, '_>, row: Ptr<'c>, width: u32) -> Float<'c> {
    let end = c.int(round_up(u64::from(width), u64::from(LANES)));
    let zero = c.floats(0.0, LANES).into();
    let sums = c.fold("column", c.int(0), end, u64::from(LANES), &[zero], |i, sum| {
        let x = c.load_vec(c.vec_f32(LANES), c.at(row, c.times(i, 4)), 64).named("x");
        vec![c.fma(x, x, sum[0].named("squares").into_vector_value()).into()]
    });
    c.sum_lanes(sums[0].into_vector_value())
}

/// Rows of bf16. Padding columns are zero in, and zero out.
fn round<'c>(source: &Source<'c, '_, '_>, cols: u64, out: Ptr<'c>) {
    let c = source.c;
    c.for_each("column", c.int(0), c.int(round_up(cols, u64::from(LANES))), u64::from(LANES), |i| {
        c.store(c.at(out, c.times(i, 2)), c.to_bf16(source.load(i, LANES)), 32);
    });
}

fn quantise<'c>(source: &Source<'c, '_, '_>, q: &Quantised, out: Ptr<'c>) {
    let c = source.c;
    let (cols, group, layout) = (q.cols(), q.group(), RowLayout::of(q));
    let one = |g: Int<'c>, width: u64| {
        let planes = (q.planes(), layout.plane_bytes(width));
        let inputs = c.at(out, layout.inputs(c, g));
        let (scale, sum) = quantise_group(source, c.times(g, group), width, planes, inputs);
        c.store(c.at(out, c.times(g, 4)), scale.named("scale"), 4);
        let correction = c.add(c.int(layout.corrections()), c.times(g, 4));
        c.store(c.at(out, correction), c.times_i32(sum, q.correction()).named("correction"), 4);
    };
    c.for_each("group", c.int(0), c.int(cols / group), 1, |g| one(g, group));
    if !cols.is_multiple_of(group) {
        one(c.int(cols / group), cols % group);
    }
}

/// With `n` = 127 for one plane and 127 · 128 for two: `scale = max|x| / n` and `q =
/// round_half_even(x · n / max|x|)`. Two planes hold `q = 128 · high + low` with `low` in -64..64.
/// Returns the scale and the sum of all `q`.
fn quantise_group<'c>(
    source: &Source<'c, '_, '_>,
    first: Int<'c>,
    width: u64,
    (planes, plane_bytes): (u64, u64),
    out: Ptr<'c>,
) -> (Float<'c>, Int<'c>) {
    let c = source.c;
    let load = |(at, lanes): (u64, u32)| source.load(c.add(first, c.int(at)), lanes);
    let largest = c.max_magnitude(width, |at, lanes| load((at, lanes)));
    let (scale, inverse) = c.scale_and_inverse(largest, if planes == 1 { 127.0 } else { 127.0 * 128.0 });
    let (mut sum, mut whole) = (c.i32().const_zero(), c.ints(c.i32(), 0, LANES));
    for piece in pieces(width) {
        let (at, lanes) = piece;
        let scaled = c.vmul(load(piece), c.splat(inverse, lanes));
        let q = c.to_int(c.vector_intrinsic("llvm.roundeven", &[scaled]), c.vec_i32(lanes)).named("q");
        for (p, plane) in (0..).zip(split(c, q, planes)) {
            let to = c.plus(out, p * plane_bytes + at);
            c.store(to, c.trunc_vec(plane, c.i8().vec_type(lanes)), 1);
        }
        match lanes {
            LANES => whole = c.add_vec(whole, q),
            _ => sum = c.sum_i32(sum, c.sum_int_lanes(q)),
        }
    }
    let sum = c.sum_i32(sum, c.sum_int_lanes(whole));
    for p in 0..planes {
        for at in width..plane_bytes {
            c.store(c.plus(out, p * plane_bytes + at), c.i8().const_zero(), 1);
        }
    }
    (scale, sum)
}

/// `q` itself, or its high and low plane.
fn split<'c>(c: &Code<'c, '_>, q: Vector<'c>, planes: u64) -> Vec<Vector<'c>> {
    if planes == 1 {
        return vec![q];
    }
    let constant = |n: u64| c.ints(c.i32(), n, q.get_type().get_size());
    let high = c.shr_vec(c.add_vec(q, constant(64)), constant(7));
    let low = c.sub_vec(q, c.shl_vec(high, constant(7)));
    vec![high.named("q.high"), low.named("q.low")]
}
