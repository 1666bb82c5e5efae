//! The inner loop of int8 and int4 weights: one panel against a tile of quantised tokens.
//!
//! In: a panel (per group: 32 scales, then bytes) and prepared rows (scales; corrections; then per group
//! each plane's inputs). Out: 32 sums per token, added to. A group's dot product is exact in i32, modulo 2^32: it
//! starts at the correction, which takes back the bias of the weights; two planes join as `128 · high +
//! low`. The result is scaled and added in f32, groups in ascending order.

use qwenc_formats::{Operand, ScaleType, LANES, PANEL_ROWS};
use qwenc_plan::{round_up, Segment};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::dot::{dot4, keeps_bias, Bytes};
use crate::names::{half, halves, Named};
use crate::tile::{self, vectors, Ahead, STREAM_TILE};

/// Bytes of weights that one dot product of a panel takes: a quad of inputs of 32 rows.
const QUAD: u64 = 4 * PANEL_ROWS as u64;
/// Quads of inputs unrolled in a loop body.
const UNROLL: u64 = 16;

/// The weights of a linear and how its inputs are cut.
pub(crate) struct Quantised<'a> {
    segment: &'a Segment,
    bytes: Bytes,
    group: u64,
    scales: ScaleType,
    planes: u64,
}

/// Where a prepared row has what: per group an f32 scale, then an i32 correction, then bytes.
pub(crate) struct RowLayout {
    groups: u64,
    group: u64,
    planes: u64,
    /// Inputs of a group's plane are padded to a multiple of this.
    unit: u64,
}

impl RowLayout {
    pub fn of(q: &Quantised) -> RowLayout {
        let cols = u64::from(q.segment.cols);
        RowLayout { groups: cols.div_ceil(q.group), group: q.group, planes: q.planes, unit: q.unit() }
    }

    /// Offset of the correction of group 0; scales are at 0.
    pub fn corrections(&self) -> u64 {
        4 * self.groups
    }

    /// Offset of a group's inputs.
    pub fn inputs<'c>(&self, c: &Code<'c, '_>, g: Int<'c>) -> Int<'c> {
        c.add(c.int(8 * self.groups), c.times(g, self.planes * round_up(self.group, self.unit)))
    }

    /// Bytes of one plane of a group of `width` inputs.
    pub fn plane_bytes(&self, width: u64) -> u64 {
        round_up(width, self.unit)
    }
}

impl<'a> Quantised<'a> {
    /// None if the segment's weights are floats.
    pub fn of(segment: &'a Segment, planes: u32) -> Option<Quantised<'a>> {
        let bytes = match segment.format {
            Operand::I8 { .. } => Bytes::Eight,
            Operand::I4 { .. } => Bytes::Four,
            Operand::F32 | Operand::Bf16 | Operand::Bf12 => return None,
        };
        let (group, scales) = segment.format.quantised()?;
        Some(Quantised { segment, bytes, group: u64::from(group), scales, planes: u64::from(planes) })
    }

    /// Inputs of a row.
    pub fn cols(&self) -> u64 {
        u64::from(self.segment.cols)
    }

    /// Bytes of a whole group of a panel.
    pub fn group_bytes(&self) -> u64 {
        self.segment.format.group_bytes(self.group)
    }

    /// Inputs that share a scale.
    pub fn group(&self) -> u64 {
        self.group
    }

    /// 8-bit planes of the inputs.
    pub fn planes(&self) -> u64 {
        self.planes
    }

    /// What a group's sum of inputs is multiplied by to give its correction. That of two planes is the
    /// start of the high plane, which counts 128 times.
    pub fn correction(&self) -> i32 {
        -self.bytes.bias() / if self.planes == 2 { 128 } else { 1 }
    }

    fn unit(&self) -> u64 {
        match self.bytes {
            Bytes::Eight => 4,
            Bytes::Four => 8,
        }
    }

    /// Bytes of a group's scales.
    fn scale_bytes(&self) -> u64 {
        u64::from(PANEL_ROWS) * self.scales.bytes()
    }

    /// The scales of the panel's rows for the group that starts at `group`, as f32.
    fn scales<'c>(&self, c: &Code<'c, '_>, group: Ptr<'c>) -> [Vector<'c>; 2] {
        let scales = [0, 1].map(|half| match self.scales {
            ScaleType::F32 => c.load_vec(c.vec_f32(LANES), c.plus(group, 64 * half), 64),
            ScaleType::F16 => c.load_f16(c.plus(group, 32 * half), LANES),
        });
        halves("w.scale", scales)
    }

    /// Quads `first ..= last` of both halves, where `last` is the next one if two share their bytes.
    fn quads<'c>(
        &self,
        c: &Code<'c, '_>,
        weights: Ptr<'c>,
        unit: Int<'c>,
        ahead: Option<Ahead<'c>>,
    ) -> Vec<[Vector<'c>; 2]> {
        let at = c.at(weights, c.times(unit, QUAD));
        if let Some(ahead) = ahead {
            ahead.fetch(c, at, 2);
        }
        let words = halves("w", [0, 64].map(|half| c.load_vec(c.vec_i32(LANES), c.plus(at, half), 64)));
        match self.bytes {
            Bytes::Eight => vec![words],
            Bytes::Four => {
                let (four, low) = (c.ints(c.i32(), 4, LANES), c.ints(c.i32(), 0x0F0F_0F0F, LANES));
                let (first, second) =
                    (words.map(|w| c.and_vec(w, low)), words.map(|w| c.and_vec(c.lshr_vec(w, four), low)));
                [first, second].map(|quad| halves("w", quad)).to_vec()
            }
        }
    }
}

/// Adds groups `start .. end`, all whole, to a tile's sums.
pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &[Ptr<'c>],
) {
    let group = |g: Int<'c>| (g, q.group, Some(ahead));
    if x.len() > STREAM_TILE {
        // Registers are for the dot products of a group; the sums stay where they are.
        return c.for_each("group", start, end, 1, |g| {
            add_group(c, q, panel, x, group(g), &mut |i, dot, scale| {
                let at = c.plus(sums[i / 2], 64 * (i as u64 % 2));
                let sum = c.load_vec(c.vec_f32(LANES), at, 64).named(&half("sum", i));
                c.store(at, c.fma(dot, scale, sum).named(&half("sum", i)), 64);
            });
        });
    }
    tile::held(c, sums, |before| {
        c.fold("group", start, end, 1, before, |g, before| {
            let mut sums = vectors("sum", before);
            add_group(c, q, panel, x, group(g), &mut |i, dot, scale| {
                sums[i] = c.fma(dot, scale, sums[i]).named(&half("sum", i));
            });
            sums.into_iter().map(Into::into).collect()
        })
    });
}

/// Adds the last group, which is shorter.
pub(crate) fn emit_rest<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    sums: &[Ptr<'c>],
) {
    let last = (c.int(q.cols() / q.group), q.cols() % q.group, None);
    tile::held(c, sums, |before| {
        let mut sums = vectors("sum", before);
        add_group(c, q, panel, x, last, &mut |i, dot, scale| {
            sums[i] = c.fma(dot, scale, sums[i]).named(&half("sum", i));
        });
        sums.into_iter().map(Into::into).collect()
    });
}

/// Gives `add` each dot product of group `g` and its scale, `[token][half]`.
fn add_group<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (g, width, ahead): (Int<'c>, u64, Option<Ahead<'c>>),
    add: &mut dyn FnMut(usize, Vector<'c>, Vector<'c>),
) {
    let layout = RowLayout::of(q);
    let weights = c.at(panel, c.times(g, q.segment.format.group_bytes(q.group)));
    let row = |&row: &Ptr<'c>| Row {
        scale: c.at(row, c.times(g, 4)),
        correction: c
            .load_int(c.i32(), c.at(row, c.add(c.int(layout.corrections()), c.times(g, 4))))
            .named("correction"),
        inputs: c.at(row, layout.inputs(c, g)),
        plane_bytes: layout.plane_bytes(width),
    };
    let rows: Vec<Row> = x.iter().map(row).collect();
    let units = width.div_ceil(q.unit());
    let dots = group_dots(c, q, c.plus(weights, q.scale_bytes()), (units, ahead), &rows);
    let of_weights = q.scales(c, weights);
    for (t, row) in rows.iter().enumerate() {
        let of_inputs = c.splat(c.load_f32(row.scale), LANES).named("x.scale");
        for (half, of_weights) in of_weights.into_iter().enumerate() {
            let dot = c.to_float(dots[2 * t + half], c.vec_f32(LANES));
            add(2 * t + half, dot, c.vmul(of_weights, of_inputs).named("scale"));
        }
    }
}

/// A token's share of a group.
struct Row<'c> {
    /// Where it is: loaded after the dot products, which need all registers.
    scale: Ptr<'c>,
    correction: Int<'c>,
    /// Plane after plane.
    inputs: Ptr<'c>,
    plane_bytes: u64,
}

/// `[token][half]` dot products of a group, i32.
fn group_dots<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    weights: Ptr<'c>,
    (units, ahead): (u64, Option<Ahead<'c>>),
    rows: &[Row<'c>],
) -> Vec<Vector<'c>> {
    let zero = c.ints(c.i32(), 0, LANES);
    let start = |row: &Row<'c>| match keeps_bias(c, q.bytes) {
        true => c.splat(row.correction, LANES),
        false => zero,
    };
    let starts: Vec<Vector> = rows.iter().flat_map(|r| [start(r); 2]).collect();
    let plane = |p: u64| rows.iter().map(|r| c.plus(r.inputs, p * r.plane_bytes)).collect::<Vec<_>>();
    let seven = c.ints(c.i32(), 7, LANES);
    if q.planes == 1 {
        return pass(c, q, weights, (units, ahead), &plane(0), starts);
    }
    if rows.len() <= STREAM_TILE {
        // A small tile has registers for both planes, and reads its weights once.
        let all = [plane(0), plane(1)].concat();
        let init = [starts, vec![zero; 2 * rows.len()]].concat();
        let dots = pass(c, q, weights, (units, ahead), &all, init);
        let (high, low) = dots.split_at(2 * rows.len());
        return high.iter().zip(low).map(|(&h, &l)| c.add_vec(c.shl_vec(h, seven), l)).collect();
    }
    let high = pass(c, q, weights, (units, ahead), &plane(0), starts);
    let shifted = high.into_iter().map(|h| c.shl_vec(h, seven)).collect();
    // The cache still has the weights; registers could not hold them meanwhile.
    pass(c, q, c.opaque(weights), (units, None), &plane(1), shifted)
}

/// `[input row][half]` dot products added to `dots`, over `units` of weights.
fn pass<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    weights: Ptr<'c>,
    (units, ahead): (u64, Option<Ahead<'c>>),
    inputs: &[Ptr<'c>],
    dots: Vec<Vector<'c>>,
) -> Vec<Vector<'c>> {
    let step = |unit: Int<'c>, mut dots: Vec<Vector<'c>>| {
        for (i, halves) in q.quads(c, weights, unit, ahead).into_iter().enumerate() {
            let at = c.add(c.times(unit, q.unit()), c.int(4 * i as u64));
            for (n, &row) in inputs.iter().enumerate() {
                let x = c.splat(c.load_int(c.i32(), c.at(row, at)), LANES).named("x");
                for (i, w) in (2 * n..).zip(halves) {
                    dots[i] = dot4(c, q.bytes, dots[i], w, x).named(&half("dot", i));
                }
            }
        }
        dots
    };
    let unroll = UNROLL * 4 / q.unit();
    let whole = units / unroll * unroll;
    let body = |i: Int<'c>, carried: Vec<Vector<'c>>| {
        (0..unroll).fold(carried, |dots, u| step(c.add(i, c.int(u)), dots))
    };
    let dots = match whole / unroll {
        0 => dots,
        1 => body(c.int(0), dots),
        _ => {
            let init: Vec<Any> = dots.into_iter().map(Into::into).collect();
            let folded = c.fold("unit", c.int(0), c.int(whole), unroll, &init, |i, carried| {
                body(i, vectors("dot", carried)).into_iter().map(Into::into).collect()
            });
            vectors("dot", &folded)
        }
    };
    (whole..units).fold(dots, |dots, unit| step(c.int(unit), dots))
}
