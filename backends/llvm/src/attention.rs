//! Streaming attention: one pass over the cached positions with a running maximum and sum.
//!
//! In: rotated q and the cache. Out: `[T, H·h]`, padding columns zero. Invariant: positions are
//! taken in tiles of 16 at multiples of 16, so a token's result does not depend on what else is in
//! the step. (Milakov & Gimelshein 2018.)

use inkwell::IntPredicate;
use qwenc_plan::{round_up, BufferId, LANES};

use crate::code::{Any, Float, Int, Ptr, Vector};
use crate::prepare::pieces;
use crate::step::Kernel;

/// Independent sums of the score's dot product.
const CHAINS: u64 = 4;

pub(crate) fn emit(k: &Kernel, q: BufferId, out: BufferId) {
    let c = &k.code;
    let d = c.plan.dims;
    let (kv_heads, group) = (u64::from(d.kv_heads), u64::from(d.heads / d.kv_heads));
    let head_bytes = 4 * u64::from(d.head_dim);
    let (queries, results) = (k.buffer(q), k.buffer(out));
    let windows = windows(k);
    k.take(c.times(k.n_rows(), kv_heads), 1, |unit| {
        let (row, kv_head) = (c.div(unit, c.int(kv_heads)), c.rem(unit, c.int(kv_heads)));
        let (keys, values) = k.cache(row, kv_head);
        let (line, to) = (k.row_of(queries, q, row), k.row_of(results, out, row));
        let position = k.position(row);
        let first = first_visible(k, windows, position);
        c.for_each(c.int(0), c.int(group), 1, |j| {
            let head = c.times(c.add(c.times(kv_head, group), j), head_bytes);
            one_head(k, c.at(line, head), keys, values, (first, position), c.at(to, head));
        });
        let width = u64::from(d.q_width());
        for column in width..round_up(width, u64::from(LANES)) {
            c.store(c.plus(to, 4 * column), c.float(0.0), 4);
        }
    });
    c.ret();
}

/// A table of the layers' windows, if any layer has one.
fn windows<'c>(k: &Kernel<'c, '_>) -> Option<Ptr<'c>> {
    let c = &k.code;
    if c.plan.windows.iter().all(Option::is_none) {
        return None;
    }
    // A window as wide as any position sees everything.
    let entries: Vec<_> = c.plan.windows.iter().map(|w| c.int(w.map_or(1 << 40, u64::from))).collect();
    let table = c.i64().const_array(&entries);
    let global = c.module.add_global(table.get_type(), None, "windows");
    global.set_initializer(&table);
    global.set_constant(true);
    global.set_linkage(inkwell::module::Linkage::Internal);
    Some(global.as_pointer_value())
}

/// The earliest position that a token at `position` attends to.
fn first_visible<'c>(k: &Kernel<'c, '_>, windows: Option<Ptr<'c>>, position: Int<'c>) -> Int<'c> {
    let c = &k.code;
    let Some(table) = windows else { return c.int(0) };
    let window = c.load_int(c.i64(), c.at(table, c.times(k.layer, 8)));
    let seen = c.add(position, c.int(1));
    c.sub(seen, c.min(seen, window))
}

/// Softmax state: maximum, sum per lane, weighted values.
struct State<'c> {
    max: Float<'c>,
    sum: Vector<'c>,
    values: Vec<Vector<'c>>,
}

impl<'c> State<'c> {
    fn pack(self) -> Vec<Any<'c>> {
        let head = [self.max.into(), self.sum.into()];
        head.into_iter().chain(self.values.into_iter().map(Into::into)).collect()
    }

    fn unpack(carried: &[Any<'c>]) -> State<'c> {
        let values = carried[2..].iter().map(|v| v.into_vector_value()).collect();
        State { max: carried[0].into_float_value(), sum: carried[1].into_vector_value(), values }
    }
}

fn one_head<'c>(
    k: &Kernel<'c, '_>,
    query: Ptr<'c>,
    keys: Ptr<'c>,
    values: Ptr<'c>,
    (first, position): (Int<'c>, Int<'c>),
    out: Ptr<'c>,
) {
    let c = &k.code;
    let columns = pieces(u64::from(c.plan.dims.head_dim));
    let init = State {
        max: c.float(f32::NEG_INFINITY),
        sum: c.floats(0.0, LANES),
        values: columns.iter().map(|&(_, lanes)| c.floats(0.0, lanes)).collect(),
    };
    let lanes = c.int(u64::from(LANES));
    let start = c.mul(c.div(first, lanes), lanes);
    let probabilities = c.stack(c.vec_f32(LANES).into());
    let end = c.add(position, c.int(1));
    let done = c.fold(start, end, u64::from(LANES), &init.pack(), |tile, carried| {
        let state = State::unpack(carried);
        let scores = tile_scores(k, query, keys, tile);
        let (scores, visible) = masked(k, scores, tile, first, position);
        let highest = c.max_lanes(scores);
        let max = c.fselect(c.fgreater(highest, state.max), highest, state.max);
        let keep = c.exp(c.vsub(c.splat(state.max, LANES), c.splat(max, LANES)));
        let p = c.exp(c.vsub(scores, c.splat(max, LANES)));
        let p = c.vselect(visible, p, c.floats(0.0, LANES));
        c.store(probabilities, p, 64);
        let sum = c.fma(state.sum, keep, p);
        let keep = c.lane(keep, 0).into_float_value();
        let rescaled: Vec<Any> =
            state.values.iter().map(|v| c.vmul(*v, c.splat(keep, v.get_type().get_size())).into()).collect();
        let count = c.min(lanes, c.sub(end, tile));
        let values = add_values(k, values, tile, count, probabilities, &rescaled);
        State { max, sum, values }.pack()
    });
    let state = State::unpack(&done);
    let sum = c.sum_lanes(state.sum);
    for ((at, lanes), v) in columns.into_iter().zip(state.values) {
        c.store(c.plus(out, 4 * at), c.vdiv(v, c.splat(sum, lanes)), 4);
    }
}

/// `q · k / sqrt(h)` for the 16 positions of a tile.
fn tile_scores<'c>(k: &Kernel<'c, '_>, query: Ptr<'c>, keys: Ptr<'c>, tile: Int<'c>) -> Vector<'c> {
    let c = &k.code;
    let head_dim = u64::from(c.plan.dims.head_dim);
    let keys = c.at(keys, c.times(tile, 4 * head_dim));
    let product = |i: Int<'c>, sum: Vector<'c>| {
        let q = c.splat(c.load_f32(c.at(query, c.times(i, 4))), LANES);
        c.fma(c.load_vec(c.vec_f32(LANES), c.at(keys, c.times(i, 64)), 64), q, sum)
    };
    let zero = c.floats(0.0, LANES);
    let whole = head_dim / CHAINS * CHAINS;
    let init: Vec<Any> = vec![zero.into(); CHAINS as usize];
    let sums = c.fold(c.int(0), c.int(whole), CHAINS, &init, |i, sums| {
        let next = |(u, s): (usize, &Any<'c>)| product(c.add(i, c.int(u as u64)), s.into_vector_value());
        sums.iter().enumerate().map(next).map(Into::into).collect()
    });
    let mut sums: Vec<Vector> = sums.iter().map(|s| s.into_vector_value()).collect();
    for i in whole..head_dim {
        sums[(i - whole) as usize] = product(c.int(i), sums[(i - whole) as usize]);
    }
    let total = c.vadd(c.vadd(sums[0], sums[1]), c.vadd(sums[2], sums[3]));
    c.vmul(total, c.floats((1.0 / f64::from(c.plan.dims.head_dim).sqrt()) as f32, LANES))
}

/// Scores with -inf at positions outside `first ..= position`, and which lanes are inside.
fn masked<'c>(
    k: &Kernel<'c, '_>,
    scores: Vector<'c>,
    tile: Int<'c>,
    first: Int<'c>,
    position: Int<'c>,
) -> (Vector<'c>, Vector<'c>) {
    let c = &k.code;
    let wide = |n: Int<'c>| c.splat(c.trunc(n, c.i32()), LANES);
    let positions = c.add_vec(wide(tile), c.lane_numbers(LANES));
    let past = c.cmp_vec(IntPredicate::ULE, positions, wide(position));
    let recent = c.cmp_vec(IntPredicate::UGE, positions, wide(first));
    let visible = c.and_vec(past, recent);
    (c.vselect(visible, scores, c.floats(f32::NEG_INFINITY, LANES)), visible)
}

/// `sums + Σ p · v` over the first `count` positions of a tile.
fn add_values<'c>(
    k: &Kernel<'c, '_>,
    values: Ptr<'c>,
    tile: Int<'c>,
    count: Int<'c>,
    probabilities: Ptr<'c>,
    sums: &[Any<'c>],
) -> Vec<Vector<'c>> {
    let c = &k.code;
    let head_dim = u64::from(c.plan.dims.head_dim);
    let columns = pieces(head_dim);
    let rows = c.at(values, c.times(tile, 4 * head_dim));
    let added = c.fold(c.int(0), count, 1, sums, |i, sums| {
        let p = c.load_f32(c.at(probabilities, c.times(i, 4)));
        let row = c.at(rows, c.times(i, 4 * head_dim));
        let one = |(&(at, lanes), sum): (&(u64, u32), &Any<'c>)| {
            let v = c.load_vec(c.vec_f32(lanes), c.plus(row, 4 * at), 4);
            c.fma(c.splat(p, lanes), v, sum.into_vector_value()).into()
        };
        columns.iter().zip(sums).map(one).collect()
    });
    added.iter().map(|v| v.into_vector_value()).collect()
}
