//! Streaming attention: one pass over the cached positions with a running maximum and sum.
//!
//! In: rotated q and the cache. Out: `[T, H·h]`, padding columns zero. Several queries that share a kv
//! head go over its keys and values together: the heads of a group, and neighbouring tokens of a
//! sequence. Invariant: positions are taken in parts of [`ATTENTION_PART`] and these in tiles, both
//! at multiples of their length, each query for itself in the same order, and a tile outside what a query
//! sees changes nothing; so a token's result does not depend on what else is in the step, nor on which
//! threads take which parts.

use std::mem::offset_of;
use std::ops::Range;

use inkwell::IntPredicate;
use qwenc_abi::{KvType, Row};
use qwenc_plan::{round_up, Attention, ATTENTION_PART, ATTENTION_QUERIES, LANES};

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::cache::{per_step, Cache};
use crate::kernel::Kernel;
use crate::prepare::pieces;
use crate::softmax::{self, Maxima, Part, Query, MOST_QUERIES, TILE, TILE_VECTORS};

/// Shares of the work for each thread, at least, so that threads end together.
const SHARES: u64 = 8;
/// Sums of weighted values that stay in registers.
const VALUE_SUMS: u64 = 16;
/// Positions fetched ahead where a single token streams through its cache.
const AHEAD: u64 = 32;

/// What all queries of the kernel share.
struct Shared<'a, 'c> {
    a: &'a Attention,
    ty: KvType,
    queries: Ptr<'c>,
    results: Ptr<'c>,
    windows: Option<Ptr<'c>>,
}

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, a: &Attention) {
    let c = &k.code;
    let windows = windows(k);
    for ty in KvType::ALL {
        let s = Shared { a, ty, queries: k.buffer(a.q), results: k.buffer(a.out), windows };
        c.when(k.kv_is(ty), || {
            c.choose(splits(k), || by_parts(k, &s), || by_heads(k, &s));
        });
    }
    c.ret();
}

/// Whether threads share out the parts of a token's positions: it is alone, has several, and its heads
/// leave threads without work.
fn splits<'c>(k: &Kernel<'c, '_>) -> Int<'c> {
    let c = &k.code;
    let alone = c.cmp(IntPredicate::EQ, k.n_rows(), c.int(1));
    let long = c.cmp(IntPredicate::UGE, k.position(c.int(0)), c.int(ATTENTION_PART));
    let left = c.rem(c.int(u64::from(c.plan.dims.kv_heads)), k.threads());
    c.and(c.and(alone, long), c.cmp(IntPredicate::NE, left, c.int(0)))
}

/// A thread takes a kv head of some rows, and all their positions: part after part, and each for all of the rows, so
/// that it comes into the caches once.
fn by_heads<'c>(k: &Kernel<'c, '_>, s: &Shared<'_, 'c>) {
    let c = &k.code;
    let d = c.plan.dims;
    let (kv_heads, group) = (u64::from(d.kv_heads), u64::from(d.heads / d.kv_heads));
    let (heads_at_once, rows_at_once) = together(c.cpu.registers(), group);
    let rows = k.n_rows();
    let rows_taken = rows_taken(k, (heads_at_once, rows_at_once));
    let shares = c.div(c.sub(c.add(rows, rows_taken), c.int(1)), rows_taken);
    let kept = k.buffer(s.a.parts);
    k.take(c.times(shares, kv_heads), c.int(1), |unit, _| {
        let (kv_head, first) = (c.div(unit, shares), c.mul(c.rem(unit, shares), rows_taken));
        let end = c.min(c.add(first, rows_taken), rows);
        for head in (0..group).step_by(heads_at_once as usize) {
            let heads = Heads::of(k, kv_head, head..group.min(head + heads_at_once));
            let total = |row: Int<'c>, i: usize| {
                let before = c.add(c.times(c.sub(row, first), heads.count()), c.int(i as u64));
                Part(c.at(kept, c.times(before, Part::bytes(c))))
            };
            let each = |then: &dyn Fn(Int<'c>, usize)| {
                c.for_each(first, end, 1, |row| (0..heads.numbers.len()).for_each(|i| then(row, i)));
            };
            each(&|row, i| total(row, i).clear(c));
            let (from, to) = parts_seen(k, s, (first, end));
            c.for_each(from, to, 1, |part| {
                let by_rows = |rows: &[Int<'c>]| {
                    let unit = Unit::new(k, s, rows, &heads, |_| Part::on_stack(c));
                    c.when(unit.sees(c, part), || {
                        unit.one_part(c, part);
                        for (n, query) in unit.queries.iter().enumerate() {
                            let (row, i) = (rows[n / heads.numbers.len()], n % heads.numbers.len());
                            total(row, i).join(c, query.part);
                        }
                    });
                };
                c.for_each(first, end, rows_at_once, |row| {
                    let stop = c.min(c.add(row, c.int(rows_at_once)), end);
                    let one_by_one = || c.for_each(row, stop, 1, |row| by_rows(&[row]));
                    if rows_at_once == 1 {
                        return one_by_one();
                    }
                    let all: Vec<Int> = (0..rows_at_once).map(|i| c.add(row, c.int(i))).collect();
                    c.choose(one_sequence(k, row, stop, rows_at_once), || by_rows(&all), one_by_one);
                });
            });
            each(&|row, i| total(row, i).finish(c, heads.result(k, s, row, i)));
        }
        c.for_each(first, end, 1, |row| zero_padding(k, s, row));
    });
}

/// Rows that a thread takes: many, so that a part serves many queries, but enough shares for all threads.
fn rows_taken<'c>(k: &Kernel<'c, '_>, (heads_at_once, rows_at_once): (u64, u64)) -> Int<'c> {
    let c = &k.code;
    let most = ATTENTION_QUERIES / (heads_at_once * rows_at_once);
    let blocks = c.div(c.add(k.n_rows(), c.int(rows_at_once - 1)), c.int(rows_at_once));
    let units = c.times(blocks, u64::from(c.plan.dims.kv_heads));
    let share = c.div(units, c.times(k.threads(), SHARES));
    c.times(c.max(c.min(share, c.int(most)), c.int(1)), rows_at_once)
}

/// The parts that any of the rows `first .. end` sees, from the first to behind the last.
fn parts_seen<'c>(
    k: &Kernel<'c, '_>,
    s: &Shared<'_, 'c>,
    (first, end): (Int<'c>, Int<'c>),
) -> (Int<'c>, Int<'c>) {
    let c = &k.code;
    let none = [c.int(u64::from(u32::MAX)).into(), c.int(0).into()];
    let seen = c.fold(first, end, 1, &none, |row, carried| {
        let position = k.position(row);
        let lowest = c.min(carried[0].into_int_value(), first_visible(k, s.windows, position));
        vec![lowest.into(), c.max(carried[1].into_int_value(), position).into()]
    });
    let of = |position: Any<'c>| c.div(position.into_int_value(), c.int(ATTENTION_PART));
    (of(seen[0]), c.add(of(seen[1]), c.int(1)))
}

/// A thread takes a part of a kv head's positions; when all are done, a head's parts are joined.
fn by_parts<'c>(k: &Kernel<'c, '_>, s: &Shared<'_, 'c>) {
    let c = &k.code;
    let d = c.plan.dims;
    let (kv_heads, group) = (u64::from(d.kv_heads), u64::from(d.heads / d.kv_heads));
    let (heads_at_once, _) = together(c.cpu.registers(), group);
    let row = c.int(0);
    let (first, end) = parts_seen(k, s, (row, c.int(1)));
    let most = u64::from(d.context).div_ceil(ATTENTION_PART);
    let kept = k.buffer_of(s.a.parts, c.int(0));
    let place = |head: Int<'c>, part: Int<'c>| {
        Part(c.at(kept, c.times(c.add(c.times(head, most), part), Part::bytes(c))))
    };
    k.take(c.times(c.sub(end, first), kv_heads), c.int(1), |unit, _| {
        let (part, kv_head) = (c.div(unit, c.int(kv_heads)), c.rem(unit, c.int(kv_heads)));
        let part = c.add(first, part);
        for head in (0..group).step_by(heads_at_once as usize) {
            let heads = Heads::of(k, kv_head, head..group.min(head + heads_at_once));
            Unit::new(k, s, &[row], &heads, |head| place(head, part)).one_part(c, part);
        }
    });
    k.barrier();
    let (start, stop) = k.share(c.int(u64::from(d.heads)));
    let total = Part::on_stack(c);
    c.for_each(start, stop, 1, |head| {
        total.clear(c);
        c.for_each(first, end, 1, |part| total.join(c, place(head, part)));
        let column = c.times(head, 4 * u64::from(d.head_dim));
        total.finish(c, c.at(k.row_of(s.results, s.a.out, row), column));
    });
    zero_padding(k, s, row);
}

/// Heads and rows whose scores fit in registers together.
fn together(registers: usize, group: u64) -> (u64, u64) {
    let queries = (registers as u64 / (2 * TILE_VECTORS)).clamp(1, MOST_QUERIES as u64);
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

fn zero_padding<'c>(k: &Kernel<'c, '_>, s: &Shared<'_, 'c>, row: Int<'c>) {
    let c = &k.code;
    let (to, width) = (k.row_of(s.results, s.a.out, row), u64::from(c.plan.dims.q_width()));
    for column in width..round_up(width, u64::from(LANES)) {
        c.store(c.plus(to, 4 * column), c.float(0.0), 4);
    }
}

/// Heads of one kv head.
struct Heads<'c> {
    kv_head: Int<'c>,
    numbers: Vec<Int<'c>>,
}

impl<'c> Heads<'c> {
    /// Those numbers among the heads of `kv_head`.
    fn of(k: &Kernel<'c, '_>, kv_head: Int<'c>, among: Range<u64>) -> Heads<'c> {
        let c = &k.code;
        let first = c.times(kv_head, u64::from(c.plan.dims.heads / c.plan.dims.kv_heads));
        Heads { kv_head, numbers: among.map(|head| c.add(first, c.int(head))).collect() }
    }

    fn count(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Where the result of the `i`th goes.
    fn result(&self, k: &Kernel<'c, '_>, s: &Shared<'_, 'c>, row: Int<'c>, i: usize) -> Ptr<'c> {
        let c = &k.code;
        let column = c.times(self.numbers[i], 4 * u64::from(c.plan.dims.head_dim));
        c.at(k.row_of(s.results, s.a.out, row), column)
    }
}

/// Queries that go over a cache together: row by row the same heads.
struct Unit<'c> {
    queries: Vec<Query<'c>>,
    maxima: Maxima<'c>,
    cache: Cache<'c>,
    /// The positions that any query sees.
    first: Int<'c>,
    end: Int<'c>,
}

impl<'c> Unit<'c> {
    /// `part` says where a head's results over a part go.
    fn new(
        k: &Kernel<'c, '_>,
        s: &Shared<'_, 'c>,
        rows: &[Int<'c>],
        heads: &Heads<'c>,
        part: impl Fn(Int<'c>) -> Part<'c>,
    ) -> Unit<'c> {
        let c = &k.code;
        let mut queries = Vec::new();
        for &row in rows {
            let position = k.position(row);
            let first = first_visible(k, s.windows, position);
            let line = k.row_of(s.queries, s.a.q, row);
            for &head in &heads.numbers {
                let column = c.times(head, 4 * u64::from(c.plan.dims.head_dim));
                queries.push(Query {
                    q: operand(c, s.ty, c.at(line, column)),
                    first,
                    position,
                    part: part(head),
                    probabilities: c.stack(c.vec_f32(TILE as u32).into()),
                });
            }
        }
        // Positions of a sequence ascend, so the first row sees the earliest and the last the latest.
        let (first, last) = (queries[0].first, queries[queries.len() - 1].position);
        let cache = Cache::of(k, s.ty, rows[0], heads.kv_head);
        Unit { queries, maxima: Maxima::on_stack(c), cache, first, end: c.add(last, c.int(1)) }
    }

    /// Whether any query sees any position of a part.
    fn sees(&self, c: &Code<'c, '_>, part: Int<'c>) -> Int<'c> {
        let start = c.times(part, ATTENTION_PART);
        let begun = c.cmp(IntPredicate::ULT, start, self.end);
        c.and(begun, c.cmp(IntPredicate::UGT, c.add(start, c.int(ATTENTION_PART)), self.first))
    }

    /// One part of the positions into every query's [`Query::part`].
    fn one_part(&self, c: &Code<'c, '_>, part: Int<'c>) {
        self.queries.iter().for_each(|query| query.part.clear(c));
        self.maxima.clear(c);
        let part_start = c.times(part, ATTENTION_PART);
        let first_tile = c.times(c.div(self.first, c.int(TILE)), TILE);
        let start = c.max(part_start, first_tile);
        let end = c.min(c.add(part_start, c.int(ATTENTION_PART)), self.end);
        c.for_each(start, end, TILE, |tile| {
            if self.queries.len() < MOST_QUERIES {
                self.cache.prefetch(c, tile, AHEAD);
                self.cache.prefetch(c, tile, AHEAD + u64::from(LANES));
            }
            let scores = self.scores(c, tile);
            softmax::update(c, &self.cache, (&self.queries, &self.maxima), &scores, tile);
            self.add_values(c, tile, c.min(c.int(TILE), c.sub(end, tile)));
        });
        for (n, query) in self.queries.iter().enumerate() {
            query.part.set_max(c, self.maxima.of(c, n));
        }
    }

    /// `q · k / sqrt(h)` of each query for the positions of a tile.
    fn scores(&self, c: &Code<'c, '_>, tile: Int<'c>) -> Vec<Vec<Vector<'c>>> {
        let head_dim = u64::from(c.plan.dims.head_dim);
        let vectors = TILE_VECTORS as usize;
        let first = |v: usize| c.add(tile, c.int(v as u64 * u64::from(LANES)));
        let init: Vec<Any> = vec![c.floats(0.0, LANES).into(); self.queries.len() * vectors];
        let steps = c.int(head_dim / per_step(self.cache.ty));
        let sums = c.fold(c.int(0), steps, 1, &init, |step, carried| {
            let keys: Vec<Vector> = (0..vectors).map(|v| self.cache.keys(c, first(v), step)).collect();
            let mut sums = carried.to_vec();
            for (n, query) in self.queries.iter().enumerate() {
                let q = self.cache.operand(c, query.q, step, LANES);
                for (v, &keys) in keys.iter().enumerate() {
                    let sum = &mut sums[n * vectors + v];
                    *sum = self.cache.multiply(c, sum.into_vector_value(), keys, q).into();
                }
            }
            sums
        });
        let scale = c.floats((1.0 / (head_dim as f64).sqrt()) as f32, LANES);
        let scales: Vec<Vector> = (0..vectors)
            .map(|v| self.cache.key_scales(c, first(v)).map_or(scale, |keys| c.vmul(keys, scale)))
            .collect();
        let scaled = |sums: &[Any<'c>]| {
            sums.iter().zip(&scales).map(|(s, &scale)| c.vmul(s.into_vector_value(), scale)).collect()
        };
        sums.chunks(vectors).map(scaled).collect()
    }

    /// `values · keep + Σ p · v` over the first `count` positions of a tile.
    fn add_values(&self, c: &Code<'c, '_>, tile: Int<'c>, count: Int<'c>) {
        let all = pieces(u64::from(c.plan.dims.head_dim));
        let whole: u64 = all.iter().filter(|p| p.1 == LANES).count() as u64;
        let together = (1..=VALUE_SUMS / self.queries.len() as u64).rev().find(|n| whole.is_multiple_of(*n));
        let together = together.unwrap_or(1);
        let lanes = u64::from(LANES);
        c.for_each(c.int(0), c.int(whole * lanes), together * lanes, |column| {
            let columns: Vec<Int> = (0..together).map(|i| c.add(column, c.int(i * lanes))).collect();
            self.add_columns(c, tile, count, &columns, LANES);
        });
        for (column, lanes) in all.into_iter().filter(|p| p.1 < LANES) {
            self.add_columns(c, tile, count, &[c.int(column)], lanes);
        }
    }

    fn add_columns(&self, c: &Code<'c, '_>, tile: Int<'c>, count: Int<'c>, columns: &[Int<'c>], lanes: u32) {
        let ty = c.vec_f32(lanes);
        let place = |query: &Query<'c>, column: Int<'c>| query.part.values(c, c.times(column, 4));
        let mut init: Vec<Any> = Vec::new();
        for (n, query) in self.queries.iter().enumerate() {
            let keep = c.splat(self.maxima.keep(c, n), lanes);
            init.extend(
                columns
                    .iter()
                    .map(|&column| Any::from(c.vmul(c.load_vec(ty, place(query, column), 64), keep))),
            );
        }
        let add = |step: Int<'c>, mask: Option<u64>, sums: &[Any<'c>]| -> Vec<Any<'c>> {
            let value = |&column: &Int<'c>| {
                let v = self.cache.values(c, (tile, step), column, lanes);
                mask.map_or(v, |mask| c.and_vec(v, c.ints(c.i32(), mask, lanes)))
            };
            let values: Vec<Vector> = columns.iter().map(value).collect();
            let mut sums = sums.to_vec();
            for (n, query) in self.queries.iter().enumerate() {
                let p = self.cache.operand(c, query.probabilities, step, lanes);
                for (i, &v) in values.iter().enumerate() {
                    let sum = &mut sums[n * columns.len() + i];
                    *sum = self.cache.multiply(c, sum.into_vector_value(), v, p).into();
                }
            }
            sums
        };
        let steps = c.div(count, c.int(per_step(self.cache.ty)));
        let sums = c.fold(c.int(0), steps, 1, &init, |step, sums| add(step, None, sums));
        let places: Vec<Ptr> =
            self.queries.iter().flat_map(|q| columns.iter().map(move |&column| place(q, column))).collect();
        for (&at, sum) in places.iter().zip(sums) {
            c.store(at, sum.into_vector_value(), 64);
        }
        if self.cache.ty == KvType::Bf16 {
            // The last position may be alone in its pair, whose other half is nobody's.
            c.when(c.cmp(IntPredicate::NE, c.rem(count, c.int(2)), c.int(0)), || {
                let before: Vec<Any> = places.iter().map(|&at| c.load_vec(ty, at, 64).into()).collect();
                for (&at, sum) in places.iter().zip(add(steps, Some(0xFFFF), &before)) {
                    c.store(at, sum.into_vector_value(), 64);
                }
            });
        }
    }
}

/// A query as the keys of the cache want it: as it is, or rounded to bf16 on the stack.
fn operand<'c>(c: &Code<'c, '_>, ty: KvType, q: Ptr<'c>) -> Ptr<'c> {
    if ty != KvType::Bf16 {
        return q;
    }
    let all = pieces(u64::from(c.plan.dims.head_dim));
    let rounded = c.stack(c.vec_f32(LANES).array_type(all.len() as u32).into());
    for (column, lanes) in all {
        let piece = c.load_vec(c.vec_f32(lanes), c.plus(q, 4 * column), 4);
        c.store(c.plus(rounded, 2 * column), c.to_bf16(piece), 32);
    }
    rounded
}
