//! The inner loop of int8 weights: one panel against a tile of quantised tokens.
//!
//! In: a panel (per group: 32 scales, then bytes `q + 128`) and prepared rows (scales; corrections per
//! plane; then per group each plane's inputs). Out: 32 sums per token. A group's dot product with one
//! plane is exact in i32: it starts at the correction `-128 · Σ inputs`, which takes back the bias of
//! the weights. Two planes join as `128 · high + low`; the result is scaled and added in f32, groups
//! in ascending order.

use qwenc_plan::{round_up, Segment, LANES, PANEL_ROWS};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::cpu::Vnni;
use crate::tile::{vectors, Sums, PREFETCH, PREFETCH_TILE};

/// Quads of inputs unrolled in a loop body.
const UNROLL: u64 = 16;

pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    s: &Segment,
    group: u32,
    planes: u32,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
) -> Vec<Sums<'c>> {
    let (cols, group, planes) = (u64::from(s.cols), u64::from(group), u64::from(planes));
    let groups = cols.div_ceil(group);
    let zero: Any = c.floats(0.0, LANES).into();
    let init = vec![zero; 2 * x.len()];
    let add_group = |g: Int<'c>, width: u64, sums: &[Any<'c>]| {
        let weights = c.at(panel, c.times(g, s.group_bytes(group)));
        let inputs = c.add(c.int(4 * (1 + planes) * groups), c.times(g, planes * round_up(group, 4)));
        let rows: Vec<Row> = x
            .iter()
            .map(|&row| Row {
                scale: c.load_f32(c.at(row, c.times(g, 4))),
                planes: (0..planes)
                    .map(|p| {
                        let correction = c.add(c.int(4 * (1 + p) * groups), c.times(g, 4));
                        Plane {
                            correction: c.load_int(c.i32(), c.at(row, correction)),
                            inputs: c.at(row, c.add(inputs, c.int(p * round_up(width, 4)))),
                        }
                    })
                    .collect(),
            })
            .collect();
        let dots = group_dots(c, c.plus(weights, 4 * u64::from(PANEL_ROWS)), width.div_ceil(4), &rows);
        scaled(c, weights, &rows, &dots, &vectors(sums))
    };
    let sums = c.fold(c.int(0), c.int(cols / group), 1, &init, |g, sums| add_group(g, group, sums));
    let sums = match cols % group {
        0 => sums,
        width => add_group(c.int(cols / group), width, &sums),
    };
    vectors(&sums).chunks(2).map(|s| [s[0], s[1]]).collect()
}

/// A token's share of a group.
struct Row<'c> {
    scale: crate::builder::Float<'c>,
    planes: Vec<Plane<'c>>,
}

/// Eight bits of a token's share of a group.
struct Plane<'c> {
    correction: Int<'c>,
    inputs: Ptr<'c>,
}

/// `[token][plane][half]` dot products of a group, i32.
fn group_dots<'c>(c: &Code<'c, '_>, weights: Ptr<'c>, quads: u64, rows: &[Row<'c>]) -> Vec<Vector<'c>> {
    let planes: Vec<&Plane> = rows.iter().flat_map(|r| &r.planes).collect();
    let init: Vec<Any> = planes.iter().flat_map(|p| [c.splat(p.correction, LANES).into(); 2]).collect();
    let quad = |at: Int<'c>, mut dots: Vec<Vector<'c>>| {
        let bytes = c.times(at, 4 * u64::from(PANEL_ROWS));
        if rows.len() <= PREFETCH_TILE {
            c.prefetch(c.at(weights, c.add(bytes, c.int(PREFETCH))));
            c.prefetch(c.at(weights, c.add(bytes, c.int(PREFETCH + 64))));
        }
        let ty = c.vec_i32(LANES);
        let halves = [0, 64].map(|h| c.load_vec(ty, c.at(weights, c.add(bytes, c.int(h))), 64));
        for (i, plane) in planes.iter().enumerate() {
            let x = c.load_int(c.i32(), c.at(plane.inputs, c.times(at, 4)));
            let x = c.splat(x, LANES);
            for (half, w) in halves.iter().enumerate() {
                dots[2 * i + half] = dot4(c, dots[2 * i + half], *w, x);
            }
        }
        dots
    };
    let whole = quads / UNROLL * UNROLL;
    let mut dots = vectors(&init);
    let body = |i: Int<'c>, carried: Vec<Vector<'c>>| {
        (0..UNROLL).fold(carried, |dots, u| quad(c.add(i, c.int(u)), dots))
    };
    if whole == UNROLL {
        dots = body(c.int(0), dots);
    } else if whole > 0 {
        let folded = c.fold(c.int(0), c.int(whole), UNROLL, &init, |i, carried| {
            body(i, vectors(carried)).into_iter().map(Into::into).collect()
        });
        dots = vectors(&folded);
    }
    (whole..quads).fold(dots, |dots, at| quad(c.int(at), dots))
}

/// `sums + dots · weight scale · input scale`.
fn scaled<'c>(
    c: &Code<'c, '_>,
    scales: Ptr<'c>,
    rows: &[Row<'c>],
    dots: &[Vector<'c>],
    sums: &[Vector<'c>],
) -> Vec<Any<'c>> {
    let ty = c.vec_f32(LANES);
    let of_weights = [0, 64].map(|h| c.load_vec(ty, c.plus(scales, h), 64));
    let mut out = Vec::with_capacity(sums.len());
    for (t, row) in rows.iter().enumerate() {
        for (half, of_weights) in of_weights.iter().enumerate() {
            let plane = |p: usize| c.to_float(dots[2 * (t * row.planes.len() + p) + half], ty);
            let dot = match row.planes.len() {
                1 => plane(0),
                _ => c.fma(plane(0), c.floats(128.0, LANES), plane(1)),
            };
            let scale = c.vmul(*of_weights, c.splat(row.scale, LANES));
            out.push(c.fma(dot, scale, sums[2 * t + half]).into());
        }
    }
    out
}

/// Each i32 lane of `sum` plus the dot product of its four unsigned bytes in `w` with the signed ones
/// in `x`.
fn dot4<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    match c.cpu.vnni() {
        Some(Vnni::Avx512) => {
            let args = [sum.into(), w.into(), x.into()];
            c.intrinsic("llvm.x86.avx512.vpdpbusd.512", &[], &args).into_vector_value()
        }
        Some(Vnni::Avx) => by_halves(c, &[sum, w, x], |v| {
            let args = [v[0].into(), v[1].into(), v[2].into()];
            c.intrinsic("llvm.x86.avx512.vpdpbusd.256", &[], &args).into_vector_value()
        }),
        None if c.cpu.has("avx2") => by_halves(c, &[sum, w, x], |v| dot4_avx2(c, v[0], v[1], v[2])),
        None => dot4_generic(c, sum, w, x),
    }
}

/// `f` on the lower and upper 8 lanes, joined.
fn by_halves<'c>(
    c: &Code<'c, '_>,
    operands: &[Vector<'c>],
    f: impl Fn(&[Vector<'c>]) -> Vector<'c>,
) -> Vector<'c> {
    let (low, high): (Vec<u32>, Vec<u32>) = ((0..8).collect(), (8..16).collect());
    let part = |lanes: &[u32]| {
        let parts: Vec<Vector> = operands.iter().map(|&v| c.shuffle(v, v, lanes)).collect();
        f(&parts)
    };
    let all: Vec<u32> = (0..16).collect();
    c.shuffle(part(&low), part(&high), &all)
}

/// Eight lanes: even and odd bytes as 16-bit numbers, `vpmaddwd` twice. (`vpmaddubsw` would saturate:
/// biased weights reach 255.)
fn dot4_avx2<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    let i16s = c.i16().vec_type(16);
    let (w, x) = (c.bits(w, i16s), c.bits(x, i16s));
    let eight = c.ints(c.i16(), 8, 16);
    let w_even = c.and_vec(w, c.ints(c.i16(), 0xFF, 16));
    let w_odd = c.vector_shift("llvm.x86.avx2.psrli.w", w, 8);
    let x_even = c.vector_shift("llvm.x86.avx2.psrai.w", c.shl_vec(x, eight), 8);
    let x_odd = c.vector_shift("llvm.x86.avx2.psrai.w", x, 8);
    let madd = |a: Vector<'c>, b: Vector<'c>| {
        c.intrinsic("llvm.x86.avx2.pmadd.wd", &[], &[a.into(), b.into()]).into_vector_value()
    };
    c.add_vec(sum, c.add_vec(madd(w_even, x_even), madd(w_odd, x_odd)))
}

/// Plain vector arithmetic, for any CPU.
fn dot4_generic<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    let (bytes, wide) = (c.i8().vec_type(4 * LANES), c.vec_i32(4 * LANES));
    let (w, x) = (c.zext_vec(c.bits(w, bytes), wide), c.sext_vec(c.bits(x, bytes), wide));
    let products = c.mul_vec_int(w, x);
    (0..4).fold(sum, |sum, i| {
        let lanes: Vec<u32> = (0..LANES).map(|l| 4 * l + i).collect();
        c.add_vec(sum, c.shuffle(products, products, &lanes))
    })
}

impl<'c> Code<'c, '_> {
    /// All 16-bit lanes shifted by a constant.
    fn vector_shift(&self, name: &str, v: Vector<'c>, by: u64) -> Vector<'c> {
        let by = self.i32().const_int(by, false);
        self.intrinsic(name, &[], &[v.into(), by.into()]).into_vector_value()
    }
}
