//! Streaming attention: one pass over the cached positions with a running maximum and sum.
//!
//! In: rotated q and the cache. Out: `[T, H·h]`, padding columns zero. Several queries that share a kv
//! head go over its keys and values together: the heads of a group, and neighbouring tokens of a
//! sequence. Invariant: positions are taken in tiles of 16 at multiples of 16, each query for itself
//! in the same order, and a tile outside what a query sees changes nothing; so a token's result does
//! not depend on what else is in the step. (Milakov & Gimelshein 2018.)

use std::mem::offset_of;

use inkwell::IntPredicate;
use qwenc_abi::Row;
use qwenc_plan::{round_up, BufferId, LANES};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::kernel::Kernel;
use crate::prepare::pieces;

/// Independent sums of a score's dot product.
const CHAINS: u64 = 2;
/// Most queries that go together.
const MOST_QUERIES: u64 = 8;

/// What all queries of the kernel share.
struct Shared<'c> {
    q: BufferId,
    queries: Ptr<'c>,
    out: BufferId,
    results: Ptr<'c>,
    windows: Option<Ptr<'c>>,
}

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, q: BufferId, out: BufferId) {
    let c = &k.code;
    let d = c.plan.dims;
    let (kv_heads, group) = (u64::from(d.kv_heads), u64::from(d.heads / d.kv_heads));
    let (heads_at_once, rows_at_once) = together(c.cpu.registers(), group);
    let s = Shared { q, queries: k.buffer(q), out, results: k.buffer(out), windows: windows(k) };
    let rows = k.n_rows();
    let blocks = c.div(c.add(rows, c.int(rows_at_once - 1)), c.int(rows_at_once));
    k.take(c.times(blocks, kv_heads), 1, |unit| {
        let (block, kv_head) = (c.div(unit, c.int(kv_heads)), c.rem(unit, c.int(kv_heads)));
        let first = c.times(block, rows_at_once);
        let end = c.min(c.add(first, c.int(rows_at_once)), rows);
        let by_rows = |rows: &[Int<'c>]| {
            for head in (0..group).step_by(heads_at_once as usize) {
                let heads: Vec<u64> = (head..group.min(head + heads_at_once)).collect();
                attend(k, &s, rows, kv_head, &heads, group);
            }
        };
        let one_by_one = || c.for_each(first, end, 1, |row| by_rows(&[row]));
        if rows_at_once == 1 {
            return one_by_one();
        }
        let nothing = || c.int(0).into();
        let all: Vec<Int> = (0..rows_at_once).map(|i| c.add(first, c.int(i))).collect();
        c.either(
            one_sequence(k, first, end, rows_at_once),
            || {
                by_rows(&all);
                nothing()
            },
            || {
                one_by_one();
                nothing()
            },
        );
    });
    c.ret();
}

/// Heads and rows whose scores fit in registers together.
fn together(registers: usize, group: u64) -> (u64, u64) {
    let queries = (registers as u64 / (2 * CHAINS)).clamp(1, MOST_QUERIES);
    let heads = group.min(queries);
    (heads, queries / heads)
}

/// Whether `first .. end` are `count` rows of one sequence.
fn one_sequence<'c>(k: &Kernel<'c, '_>, first: Int<'c>, end: Int<'c>, count: u64) -> Int<'c> {
    let c = &k.code;
    let full = c.cmp(IntPredicate::EQ, c.sub(end, first), c.int(count));
    let kv = |row: Int<'c>| c.load_int(c.i64(), c.plus(k.step_row(row), offset_of!(Row, kv) as u64));
    // Rows of one sequence stand together, so the ends tell; `end` is at least one past `first`.
    let same = c.cmp(IntPredicate::EQ, kv(first), kv(c.sub(end, c.int(1))));
    c.and(full, same)
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

/// One head of one token.
struct Query<'c> {
    q: Ptr<'c>,
    out: Ptr<'c>,
    /// Sees positions `first ..= position`.
    first: Int<'c>,
    position: Int<'c>,
    state: State<'c>,
}

/// Softmax state on the stack: maximum, sum per lane, weighted values; and the tile's probabilities
/// and the factor that its maximum puts on what was before.
struct State<'c> {
    max: Ptr<'c>,
    sum: Ptr<'c>,
    values: Ptr<'c>,
    probabilities: Ptr<'c>,
    keep: Ptr<'c>,
}

impl<'c> State<'c> {
    fn new(c: &Code<'c, '_>) -> State<'c> {
        let floats = |n: u32| c.stack(c.vec_f32(n).into());
        let width = round_up(u64::from(c.plan.dims.head_dim), u64::from(LANES));
        let state = State {
            max: c.stack(c.f32().into()),
            sum: floats(LANES),
            values: c.stack(c.vec_f32(LANES).array_type((width / u64::from(LANES)) as u32).into()),
            probabilities: floats(LANES),
            keep: c.stack(c.f32().into()),
        };
        c.store(state.max, c.float(f32::NEG_INFINITY), 4);
        c.store(state.sum, c.floats(0.0, LANES), 64);
        c.for_each(c.int(0), c.int(4 * width), 64, |at| {
            c.store(c.at(state.values, at), c.floats(0.0, LANES), 64);
        });
        state
    }
}

/// All queries of `rows` and `heads` of a kv head.
fn attend<'c>(
    k: &Kernel<'c, '_>,
    s: &Shared<'c>,
    rows: &[Int<'c>],
    kv_head: Int<'c>,
    heads: &[u64],
    group: u64,
) {
    let c = &k.code;
    let head_bytes = 4 * u64::from(c.plan.dims.head_dim);
    let mut queries = Vec::new();
    for &row in rows {
        let position = k.position(row);
        let first = first_visible(k, s.windows, position);
        let (line, to) = (k.row_of(s.queries, s.q, row), k.row_of(s.results, s.out, row));
        for &head in heads {
            let column = c.times(c.add(c.times(kv_head, group), c.int(head)), head_bytes);
            let (q, out) = (c.at(line, column), c.at(to, column));
            queries.push(Query { q, out, first, position, state: State::new(c) });
        }
    }
    let (keys, values) = k.cache(rows[0], kv_head);
    // Positions of a sequence ascend, so the first row sees the earliest and the last the latest.
    let lanes = c.int(u64::from(LANES));
    let start = c.mul(c.div(queries[0].first, lanes), lanes);
    let end = c.add(queries[queries.len() - 1].position, c.int(1));
    c.for_each(start, end, u64::from(LANES), |tile| {
        let scores = tile_scores(c, &queries, keys, tile);
        for (query, scores) in queries.iter().zip(scores) {
            update(c, query, scores, tile);
        }
        add_values(c, &queries, values, tile, c.min(lanes, c.sub(end, tile)));
    });
    for query in &queries {
        finish(c, query);
    }
    let width = u64::from(c.plan.dims.q_width());
    for &row in rows {
        let to = k.row_of(s.results, s.out, row);
        for column in width..round_up(width, u64::from(LANES)) {
            c.store(c.plus(to, 4 * column), c.float(0.0), 4);
        }
    }
}

/// `q · k / sqrt(h)` of each query for the 16 positions of a tile.
fn tile_scores<'c>(c: &Code<'c, '_>, queries: &[Query<'c>], keys: Ptr<'c>, tile: Int<'c>) -> Vec<Vector<'c>> {
    let head_dim = u64::from(c.plan.dims.head_dim);
    let keys = c.at(keys, c.times(tile, 4 * head_dim));
    let chains = CHAINS as usize;
    let add = |i: Int<'c>, chain: usize, sums: &mut [Vector<'c>]| {
        let column = c.load_vec(c.vec_f32(LANES), c.at(keys, c.times(i, 64)), 64);
        for (n, query) in queries.iter().enumerate() {
            let q = c.splat(c.load_f32(c.at(query.q, c.times(i, 4))), LANES);
            let sum = &mut sums[n * chains + chain];
            *sum = c.fma(column, q, *sum);
        }
    };
    let whole = head_dim / CHAINS * CHAINS;
    let init: Vec<Any> = vec![c.floats(0.0, LANES).into(); queries.len() * chains];
    let sums = c.fold(c.int(0), c.int(whole), CHAINS, &init, |i, carried| {
        let mut sums: Vec<Vector> = carried.iter().map(|s| s.into_vector_value()).collect();
        for chain in 0..chains {
            add(c.add(i, c.int(chain as u64)), chain, &mut sums);
        }
        sums.into_iter().map(Into::into).collect()
    });
    let mut sums: Vec<Vector> = sums.iter().map(|s| s.into_vector_value()).collect();
    for i in whole..head_dim {
        add(c.int(i), (i - whole) as usize, &mut sums);
    }
    let scale = c.floats((1.0 / f64::from(c.plan.dims.head_dim).sqrt()) as f32, LANES);
    sums.chunks(chains).map(|s| c.vmul(s.iter().skip(1).fold(s[0], |a, &b| c.vadd(a, b)), scale)).collect()
}

/// Takes a tile's scores into a query's maximum and sum; leaves probabilities and `keep`.
fn update<'c>(c: &Code<'c, '_>, query: &Query<'c>, scores: Vector<'c>, tile: Int<'c>) {
    let wide = |n: Int<'c>| c.splat(c.trunc(n, c.i32()), LANES);
    let positions = c.add_vec(wide(tile), c.lane_numbers(LANES));
    let past = c.cmp_vec(IntPredicate::ULE, positions, wide(query.position));
    let recent = c.cmp_vec(IntPredicate::UGE, positions, wide(query.first));
    let visible = c.and_vec(past, recent);
    let scores = c.vselect(visible, scores, c.floats(f32::NEG_INFINITY, LANES));
    let state = &query.state;
    let (old, highest) = (c.load_f32(state.max), c.max_lanes(scores));
    let max = c.fselect(c.fgreater(highest, old), highest, old);
    c.store(state.max, max, 4);
    // Before the first visible position both are -inf; `exp` takes their difference, which is no
    // number, as its smallest argument, and everything it scales is still zero.
    let keep = c.exp(c.vsub(c.splat(old, LANES), c.splat(max, LANES)));
    let p = c.exp(c.vsub(scores, c.splat(max, LANES)));
    let p = c.vselect(visible, p, c.floats(0.0, LANES));
    c.store(state.probabilities, p, 64);
    c.store(state.keep, c.lane(keep, 0).into_float_value(), 4);
    let sum = c.load_vec(c.vec_f32(LANES), state.sum, 64);
    c.store(state.sum, c.fma(sum, keep, p), 64);
}

/// `values · keep + Σ p · v` over the first `count` positions of a tile.
fn add_values<'c>(c: &Code<'c, '_>, queries: &[Query<'c>], values: Ptr<'c>, tile: Int<'c>, count: Int<'c>) {
    let head_dim = u64::from(c.plan.dims.head_dim);
    let rows = c.at(values, c.times(tile, 4 * head_dim));
    let piece = |at: Int<'c>, lanes: u32| {
        let ty = c.vec_f32(lanes);
        let kept = |query: &Query<'c>| {
            let before = c.load_vec(ty, c.at(query.state.values, at), 4);
            Any::from(c.vmul(before, c.splat(c.load_f32(query.state.keep), lanes)))
        };
        let init: Vec<Any> = queries.iter().map(kept).collect();
        let sums = c.fold(c.int(0), count, 1, &init, |i, sums| {
            let v = c.load_vec(ty, c.at(rows, c.add(c.times(i, 4 * head_dim), at)), 4);
            let added = |(query, sum): (&Query<'c>, &Any<'c>)| {
                let p = c.load_f32(c.at(query.state.probabilities, c.times(i, 4)));
                Any::from(c.fma(c.splat(p, lanes), v, sum.into_vector_value()))
            };
            queries.iter().zip(sums).map(added).collect()
        });
        for (query, sum) in queries.iter().zip(sums) {
            c.store(c.at(query.state.values, at), sum.into_vector_value(), 4);
        }
    };
    each_piece(c, head_dim, piece);
}

/// Runs `piece(first byte, lanes)` over a row: a loop of whole vectors, then the rest.
fn each_piece<'c>(c: &Code<'c, '_>, width: u64, piece: impl Fn(Int<'c>, u32)) {
    let whole = width / u64::from(LANES) * u64::from(LANES);
    c.for_each(c.int(0), c.int(4 * whole), 64, |at| piece(at, LANES));
    for (at, lanes) in pieces(width).into_iter().filter(|p| p.0 >= whole) {
        piece(c.int(4 * at), lanes);
    }
}

/// Weighted values over their sum.
fn finish<'c>(c: &Code<'c, '_>, query: &Query<'c>) {
    let sum = c.sum_lanes(c.load_vec(c.vec_f32(LANES), query.state.sum, 64));
    each_piece(c, u64::from(c.plan.dims.head_dim), |at, lanes| {
        let v = c.load_vec(c.vec_f32(lanes), c.at(query.state.values, at), 4);
        c.store(c.at(query.out, at), c.vdiv(v, c.splat(sum, lanes)), 4);
    });
}
