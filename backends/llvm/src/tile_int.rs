//! The inner loop of integer weights: one panel against a tile of quantised tokens.
//!
//! In: a panel, read by its decoder, and prepared rows (`InputLayout` of the formats crate). Out: 32 sums per token, added
//! to. The dot product of a part of a group, which has one scale of the weights and one of the inputs, is exact in i32,
//! modulo 2^32: the bias of the weights is taken back there; two planes join as `128 · high + low`. The result is scaled
//! and added in f32, then the minimum times the sum of the inputs is subtracted; groups and parts in ascending order.

use qwenc_formats::{InputLayout, Inputs, LANES};
use qwenc_plan::Segment;

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::decoders::{IntDecoder, PanelRows};
use crate::isa::{dot4, keeps_bias};
use crate::names::{half, halves, Named};
use crate::tile::{self, vectors, Ahead, Sums, STREAM_TILE};

/// Quads of inputs unrolled in a loop body.
const UNROLL: u64 = 16;

/// The weights of a linear and the form of its inputs.
pub(crate) struct Quantised {
    decoder: Box<dyn IntDecoder>,
    layout: InputLayout,
    cols: u32,
    planes: u64,
}

impl Quantised {
    pub fn of(decoder: Box<dyn IntDecoder>, segment: &Segment, inputs: Inputs) -> Quantised {
        let (layout, planes) = (decoder.inputs(), u64::from(inputs.planes()));
        Quantised { decoder, layout, cols: segment.cols, planes }
    }

    /// Whole groups of a row.
    fn groups(&self) -> u64 {
        u64::from(self.cols / self.layout.group)
    }

    /// Inputs of the shorter group that follows; 0 if there is none.
    pub fn rest(&self) -> u64 {
        u64::from(self.cols % self.layout.group)
    }

    /// Bytes of a panel for each whole group.
    pub fn group_bytes(&self) -> u64 {
        self.decoder.group_bytes()
    }

    /// Columns of a whole group.
    pub fn group(&self) -> u64 {
        u64::from(self.layout.group)
    }

    /// Group `g` of the prepared row at `row`; the group has `width` inputs.
    fn row<'c>(&self, c: &Code<'c, '_>, row: Ptr<'c>, g: Int<'c>, width: u64) -> Row<'c> {
        let layout = self.layout;
        let scale = c.at(row, c.times(g, 4));
        let of_group = 4 * u64::from(layout.group.div_ceil(layout.sum_cols));
        let sums = c.at(row, c.add(c.int(layout.sums_at(self.cols)), c.times(g, of_group)));
        let correction = layout.bias.map(|_| c.load_int(c.i32(), sums).named("correction"));
        let planes = c.times(g, self.planes * layout.plane_bytes(layout.group));
        let inputs = c.at(row, c.add(c.int(layout.inputs_at(self.cols)), planes));
        Row { scale, sums, correction, inputs, plane_bytes: layout.plane_bytes(width as u32) }
    }
}

/// Adds groups `start .. end`, all whole, to a tile's sums.
pub(crate) fn emit<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (start, end, ahead): (Int<'c>, Int<'c>, Ahead<'c>),
    sums: &Sums<'c>,
) {
    let group = |g: Int<'c>| (g, q.group(), Some(ahead));
    tile::held(c, sums, |before| {
        c.fold("group", start, end, 1, before, |g, before| {
            let mut sums = vectors("sum", before);
            add_group(c, q, panel, x, group(g), &mut |i, a, b| {
                sums[i] = c.fma(a, b, sums[i]).named(&half("sum", i));
            });
            sums.into_iter().map(Into::into).collect()
        })
    });
}

/// Adds the last group, which is shorter.
pub(crate) fn emit_rest<'c>(c: &Code<'c, '_>, q: &Quantised, panel: Ptr<'c>, x: &[Ptr<'c>], sums: &Sums<'c>) {
    let last = (c.int(q.groups()), q.rest(), None);
    tile::held(c, sums, |before| {
        let mut sums = vectors("sum", before);
        add_group(c, q, panel, x, last, &mut |i, a, b| {
            sums[i] = c.fma(a, b, sums[i]).named(&half("sum", i));
        });
        sums.into_iter().map(Into::into).collect()
    });
}

/// Calls `add` with the factors of each product that group `g` adds to sum `[token][half]`.
fn add_group<'c>(
    c: &Code<'c, '_>,
    q: &Quantised,
    panel: Ptr<'c>,
    x: &[Ptr<'c>],
    (g, width, ahead): (Int<'c>, u64, Option<Ahead<'c>>),
    add: &mut dyn FnMut(usize, Vector<'c>, Vector<'c>),
) {
    let decoder = &*q.decoder;
    let place = decoder.place(c, panel, g);
    let rows: Vec<Row> = x.iter().map(|&row| q.row(c, row, g, width)).collect();
    let of_part = decoder.part_cols();
    for (number, first) in (0..).zip((0..width).step_by(of_part as usize)) {
        let part = Part { q, first, width: of_part.min(width - first) };
        let units = c.plus(place.group, decoder.units_at(number));
        let dots = part.dots(c, (units, ahead), &rows);
        let halves_of = PanelRows::halves(c);
        let scales = halves("w.scale", halves_of.map(|half| decoder.scales(c, place, number, half)));
        let minima = halves_of.map(|half| decoder.minima(c, place, number, half));
        for (t, row) in rows.iter().enumerate() {
            let of_inputs = c.splat(c.load_f32(row.scale), LANES).named("x.scale");
            for (half, of_weights) in scales.into_iter().enumerate() {
                let dot = c.to_float(dots[2 * t + half], c.vec_f32(LANES));
                add(2 * t + half, dot, c.vmul(of_weights, of_inputs).named("scale"));
            }
            for (half, minimum) in minima.into_iter().enumerate() {
                let Some(minimum) = minimum else { continue };
                let sum = c.to_float(c.splat(part.sum(c, row), LANES), c.vec_f32(LANES));
                add(2 * t + half, c.vneg(minimum), c.vmul(sum, of_inputs).named("x.sum"));
            }
        }
    }
}

/// A token's share of a group.
struct Row<'c> {
    /// Address of the scale: loaded after the dot products, which need all registers.
    scale: Ptr<'c>,
    /// The sums of the inputs.
    sums: Ptr<'c>,
    /// The first sum, where the first plane's dot product starts at it.
    correction: Option<Int<'c>>,
    /// Plane after plane.
    inputs: Ptr<'c>,
    plane_bytes: u64,
}

/// A part of a group: columns that share scales.
struct Part<'a> {
    q: &'a Quantised,
    /// First column within the group.
    first: u64,
    /// Columns.
    width: u64,
}

impl Part<'_> {
    /// Sum of a token's inputs.
    fn sum<'c>(&self, c: &Code<'c, '_>, row: &Row<'c>) -> Int<'c> {
        let of_sum = u64::from(self.q.layout.sum_cols);
        let one = |i: u64| c.load_int(c.i32(), c.plus(row.sums, 4 * (self.first / of_sum + i)));
        (1..self.width.div_ceil(of_sum)).fold(one(0), |sum, i| c.sum_i32(sum, one(i))).named("x.sum")
    }

    /// Initial sums of a plane's dot products where these take the bias of the weights back.
    fn start<'c>(&self, c: &Code<'c, '_>, row: &Row<'c>, plane: u64) -> Option<Vector<'c>> {
        let bytes = self.q.decoder.bytes();
        if bytes.bias == 0 || !keeps_bias(c, bytes) {
            return None;
        }
        let correction = match row.correction {
            Some(correction) if plane == 0 => correction,
            None if plane + 1 == self.q.planes => c.times_i32(self.sum(c, row), -bytes.bias),
            Some(_) | None => return None,
        };
        Some(c.splat(correction, LANES))
    }

    /// `[token][half]` dot products, i32.
    fn dots<'c>(
        &self,
        c: &Code<'c, '_>,
        (weights, ahead): (Ptr<'c>, Option<Ahead<'c>>),
        rows: &[Row<'c>],
    ) -> Vec<Vector<'c>> {
        let zero = c.ints(c.i32(), 0, LANES);
        let starts = |p: u64| rows.iter().flat_map(|row| [self.start(c, row, p); 2]).collect::<Vec<_>>();
        let or_zero =
            |starts: Vec<Option<Vector<'c>>>| starts.into_iter().map(|s| s.unwrap_or(zero)).collect();
        let plane = |p: u64| {
            rows.iter().map(|r| c.plus(r.inputs, p * r.plane_bytes + self.first)).collect::<Vec<_>>()
        };
        let first = or_zero(starts(0));
        if self.q.planes == 1 {
            return self.pass(c, (weights, ahead), &plane(0), first);
        }
        let seven = c.ints(c.i32(), 7, LANES);
        if rows.len() <= STREAM_TILE {
            // A small tile has registers for both planes, and reads its weights once.
            let all = [plane(0), plane(1)].concat();
            let dots = self.pass(c, (weights, ahead), &all, [first, or_zero(starts(1))].concat());
            let (high, low) = dots.split_at(2 * rows.len());
            return high.iter().zip(low).map(|(&h, &l)| c.add_vec(c.shl_vec(h, seven), l)).collect();
        }
        let high = self.pass(c, (weights, ahead), &plane(0), first);
        let low = high.into_iter().zip(starts(1)).map(|(h, start)| {
            let shifted = c.shl_vec(h, seven);
            start.map_or(shifted, |start| c.add_vec(shifted, start))
        });
        let low = low.collect();
        // The cache still has the weights; registers could not hold them meanwhile.
        self.pass(c, (c.opaque(weights), None), &plane(1), low)
    }

    /// `[input row][half]` dot products added to `dots`.
    fn pass<'c>(
        &self,
        c: &Code<'c, '_>,
        (weights, ahead): (Ptr<'c>, Option<Ahead<'c>>),
        inputs: &[Ptr<'c>],
        dots: Vec<Vector<'c>>,
    ) -> Vec<Vector<'c>> {
        let unit_inputs = self.q.decoder.unit();
        let unroll = UNROLL * 4 / unit_inputs;
        let units = self.width.div_ceil(unit_inputs);
        let whole = units / unroll * unroll;
        let body = |i: Int<'c>, carried: Vec<Vector<'c>>| {
            (0..unroll)
                .fold(carried, |dots, u| self.unit(c, (weights, ahead), c.add(i, c.int(u)), inputs, dots))
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
        (whole..units).fold(dots, |dots, unit| self.unit(c, (weights, ahead), c.int(unit), inputs, dots))
    }

    /// The same of one unit.
    fn unit<'c>(
        &self,
        c: &Code<'c, '_>,
        (weights, ahead): (Ptr<'c>, Option<Ahead<'c>>),
        unit: Int<'c>,
        inputs: &[Ptr<'c>],
        mut dots: Vec<Vector<'c>>,
    ) -> Vec<Vector<'c>> {
        let decoder = &*self.q.decoder;
        let at = c.at(weights, c.times(unit, decoder.unit_bytes()));
        if let Some(ahead) = ahead {
            ahead.fetch(c, at, decoder.unit_bytes() / 64);
        }
        let words = PanelRows::halves(c).map(|half| decoder.words(c, at, half));
        for quad in 0..decoder.unit() / 4 {
            let weights = halves("w", words.each_ref().map(|words| decoder.quad(c, words, quad)));
            let at = c.add(c.times(unit, decoder.unit()), c.int(4 * quad));
            for (n, &row) in inputs.iter().enumerate() {
                let x = c.splat(c.load_int(c.i32(), c.at(row, at)), LANES).named("x");
                for (i, w) in (2 * n..).zip(weights) {
                    dots[i] = dot4(c, decoder.bytes(), dots[i], w, x).named(&half("dot", i));
                }
            }
        }
        dots
    }
}
