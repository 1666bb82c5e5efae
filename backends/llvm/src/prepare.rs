//! A linear's prologue for one row: RMSNorm, gain, and the form in which the inner loop reads.
//!
//! In: a row of f32. Out: a prepared row: f32; bf16; or scales, sums and each plane's i8 inputs (`InputLayout` of the formats
//! crate). Invariant: what is written depends on that row alone.

use qwenc_formats::{InputLayout, Inputs, LANES};
use qwenc_plan::{round_up, Linear};

use crate::builder::{Code, Float, Int, Ptr, Vector};
use crate::kernel::Kernel;
use crate::names::Named;

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
    match (weight.format.input_layout(), l.inputs) {
        (Some(layout), _) => quantise(&source, layout, (weight.cols, l.inputs), out),
        (None, Inputs::Bf16) => round(&source, u64::from(weight.cols), out),
        (None, Inputs::F32 | Inputs::Int8 | Inputs::Int16) => {
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

fn quantise<'c>(
    source: &Source<'c, '_, '_>,
    layout: InputLayout,
    (cols, inputs): (u32, Inputs),
    out: Ptr<'c>,
) {
    let c = source.c;
    let (group, sum_cols) = (u64::from(layout.group), u64::from(layout.sum_cols));
    let (whole, rest) = (cols / layout.group, cols % layout.group);
    let planes = u64::from(inputs.planes());
    let one = |g: Int<'c>, width: u32| {
        let bytes = c.times(g, planes * layout.plane_bytes(layout.group));
        let to = c.at(out, c.add(c.int(layout.inputs_at(cols)), bytes));
        let first = c.times(g, group);
        let group = Group { first, width: u64::from(width), planes, plane_bytes: layout.plane_bytes(width) };
        let (scale, sums) = group.quantise(source, sum_cols, to);
        c.store(c.at(out, c.times(g, 4)), scale.named("scale"), 4);
        for (i, sum) in (0..).zip(sums) {
            let at = c.add(c.int(layout.sums_at(cols) + 4 * i), c.times(g, 4 * group_sums(layout)));
            c.store(c.at(out, at), c.times_i32(sum, layout.sum_factor(inputs)).named(sum_name(layout)), 4);
        }
    };
    c.for_each("group", c.int(0), c.int(u64::from(whole)), 1, |g| one(g, layout.group));
    if rest > 0 {
        one(c.int(u64::from(whole)), rest);
    }
}

/// Sums of a whole group.
fn group_sums(layout: InputLayout) -> u64 {
    u64::from(layout.group.div_ceil(layout.sum_cols))
}

/// Name of a stored sum in the code.
fn sum_name(layout: InputLayout) -> &'static str {
    layout.bias.map_or("x.sum", |_| "correction")
}

/// A group of a row's columns, and its prepared form.
struct Group<'c> {
    first: Int<'c>,
    width: u64,
    planes: u64,
    plane_bytes: u64,
}

impl<'c> Group<'c> {
    /// With `n` = 127 for one plane and 127 · 128 for two: `scale = max|x| / n` and `q =
    /// round_half_even(x · n / max|x|)`. Two planes hold `q = 128 · high + low` with `low` in -64..64.
    /// Returns the scale, and the sums of each `sum_cols` of `q`.
    fn quantise(
        &self,
        source: &Source<'c, '_, '_>,
        sum_cols: u64,
        out: Ptr<'c>,
    ) -> (Float<'c>, Vec<Int<'c>>) {
        let c = source.c;
        let load = |at: u64, lanes: u32| source.load(c.add(self.first, c.int(at)), lanes);
        let largest = c.max_magnitude(self.width, load);
        let most = if self.planes == 1 { 127.0 } else { 127.0 * 128.0 };
        let (scale, inverse) = c.scale_and_inverse(largest, most);
        let sums = (0..self.width).step_by(sum_cols as usize).map(|first| {
            let (mut sum, mut whole) = (c.i32().const_zero(), c.ints(c.i32(), 0, LANES));
            for (at, lanes) in pieces(sum_cols.min(self.width - first)) {
                let scaled = c.vmul(load(first + at, lanes), c.splat(inverse, lanes));
                let q =
                    c.to_int(c.vector_intrinsic("llvm.roundeven", &[scaled]), c.vec_i32(lanes)).named("q");
                for (p, plane) in (0..).zip(split(c, q, self.planes)) {
                    let to = c.plus(out, p * self.plane_bytes + first + at);
                    c.store(to, c.trunc_vec(plane, c.i8().vec_type(lanes)), 1);
                }
                match lanes {
                    LANES => whole = c.add_vec(whole, q),
                    _ => sum = c.sum_i32(sum, c.sum_int_lanes(q)),
                }
            }
            c.sum_i32(sum, c.sum_int_lanes(whole))
        });
        let sums = sums.collect();
        for p in 0..self.planes {
            for at in self.width..self.plane_bytes {
                c.store(c.plus(out, p * self.plane_bytes + at), c.i8().const_zero(), 1);
            }
        }
        (scale, sums)
    }
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
