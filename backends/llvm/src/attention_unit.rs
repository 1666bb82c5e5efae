//! Queries that go over a cache together: rows of one sequence, and heads that share a kv head.
//!
//! In: rotated q and the cache. Out: what a part of the positions makes of each query. Invariant: a part is taken in
//! tiles at multiples of their length, each query for itself in the same order, and a tile outside what a query sees
//! changes nothing; so a query's part does not depend on the others.

use std::ops::Range;

use inkwell::IntPredicate;
use qwenc_abi::KvType;
use qwenc_formats::LANES;
use qwenc_plan::Attention;

use crate::builder::{Any, Code, Int, Ptr, Vector};
use crate::cache::{per_step, Cache};
use crate::kernel::Kernel;
use crate::names::{half, Named};
use crate::prepare::pieces;
use crate::schedule::ATTENTION_PART;
use crate::softmax::{self, Maxima, Part, Query, MOST_QUERIES, TILE, TILE_VECTORS};
use crate::tile::vectors;

/// Sums of weighted values that stay in registers.
const VALUE_SUMS: u64 = 16;
/// Positions fetched ahead where a single token streams through its cache.
const AHEAD: u64 = 32;

/// Values that all queries of the kernel share.
pub(crate) struct Shared<'a, 'c> {
    pub a: &'a Attention,
    pub ty: KvType,
    pub queries: Ptr<'c>,
    pub results: Ptr<'c>,
}

/// Heads and rows whose scores fit in registers together.
pub(crate) fn together(registers: usize, group: u64) -> (u64, u64) {
    let queries = (registers as u64 / (2 * TILE_VECTORS)).clamp(1, MOST_QUERIES as u64);
    let heads = group.min(queries);
    (heads, queries / heads)
}

/// The earliest position that a token at `position` attends to.
pub(crate) fn first_visible<'c>(k: &Kernel<'c, '_>, position: Int<'c>) -> Int<'c> {
    let c = &k.code;
    let Some(window) = k.window() else { return c.int(0) };
    let seen = c.add(position, c.int(1));
    c.sub(seen, c.min(seen, c.int(u64::from(window)))).named("first_visible")
}

/// Heads of one kv head.
pub(crate) struct Heads<'c> {
    kv_head: Int<'c>,
    pub numbers: Vec<Int<'c>>,
}

impl<'c> Heads<'c> {
    /// Those numbers among the heads of `kv_head`.
    pub fn of(k: &Kernel<'c, '_>, kv_head: Int<'c>, among: Range<u64>) -> Heads<'c> {
        let c = &k.code;
        let first = c.times(kv_head, u64::from(c.plan.dims.heads / c.plan.dims.kv_heads));
        Heads { kv_head, numbers: among.map(|head| c.add(first, c.int(head)).named("head")).collect() }
    }

    pub fn count(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Address of the `i`th result.
    pub fn result(&self, k: &Kernel<'c, '_>, s: &Shared<'_, 'c>, row: Int<'c>, i: usize) -> Ptr<'c> {
        let c = &k.code;
        let column = c.times(self.numbers[i], 4 * u64::from(c.plan.dims.head_dim));
        c.at(k.row_of(s.results, s.a.out, row), column)
    }
}

/// Queries that go over a cache together: row by row the same heads.
pub(crate) struct Unit<'c> {
    pub queries: Vec<Query<'c>>,
    maxima: Maxima<'c>,
    cache: Cache<'c>,
    /// The positions that any query sees.
    first: Int<'c>,
    end: Int<'c>,
}

impl<'c> Unit<'c> {
    /// `part` says where a head's results over a part go.
    pub fn new(
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
            let first = first_visible(k, position);
            let line = k.row_of(s.queries, s.a.q, row);
            for &head in &heads.numbers {
                let column = c.times(head, 4 * u64::from(c.plan.dims.head_dim));
                queries.push(Query {
                    q: operand(c, s.ty, c.at(line, column)),
                    first,
                    position,
                    part: part(head),
                    probabilities: c.stack("probabilities", c.vec_f32(TILE as u32).into()),
                });
            }
        }
        // Positions of a sequence ascend, so the first row sees the earliest and the last the latest.
        let (first, last) = (queries[0].first, queries[queries.len() - 1].position);
        let cache = Cache::of(k, s.ty, rows[0], heads.kv_head);
        Unit { queries, maxima: Maxima::on_stack(c), cache, first, end: c.add(last, c.int(1)) }
    }

    /// Whether any query sees any position of a part.
    pub fn sees(&self, c: &Code<'c, '_>, part: Int<'c>) -> Int<'c> {
        let start = c.times(part, ATTENTION_PART);
        let begun = c.cmp(IntPredicate::ULT, start, self.end);
        c.and(begun, c.cmp(IntPredicate::UGT, c.add(start, c.int(ATTENTION_PART)), self.first))
    }

    /// One part of the positions into every query's [`Query::part`].
    pub fn one_part(&self, c: &Code<'c, '_>, part: Int<'c>) {
        self.queries.iter().for_each(|query| query.part.clear(c));
        self.maxima.clear(c);
        let part_start = c.times(part, ATTENTION_PART);
        let first_tile = c.times(c.div(self.first, c.int(TILE)), TILE);
        let start = c.max(part_start, first_tile).named("tiles.start");
        let end = c.min(c.add(part_start, c.int(ATTENTION_PART)), self.end).named("tiles.end");
        c.for_each("tile", start, end, TILE, |tile| {
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
        let per_query = TILE_VECTORS as usize;
        let first = |v: usize| c.add(tile, c.int(v as u64 * u64::from(LANES)));
        let init: Vec<Any> = vec![c.floats(0.0, LANES).into(); self.queries.len() * per_query];
        let steps = c.int(head_dim / per_step(self.cache.ty));
        let sums = c.fold("step", c.int(0), steps, 1, &init, |step, carried| {
            let keys: Vec<Vector> = (0..per_query).map(|v| self.cache.keys(c, first(v), step)).collect();
            let mut sums = vectors("score", carried);
            for (n, query) in self.queries.iter().enumerate() {
                let q = self.cache.operand(c, query.q, step, LANES).named("q");
                for (v, &keys) in keys.iter().enumerate() {
                    let i = n * per_query + v;
                    sums[i] = self.cache.multiply(c, sums[i], keys, q).named(&half("score", i));
                }
            }
            sums.into_iter().map(Any::from).collect()
        });
        let scale = c.floats((1.0 / (head_dim as f64).sqrt()) as f32, LANES);
        let scales: Vec<Vector> = (0..per_query)
            .map(|v| self.cache.key_scales(c, first(v)).map_or(scale, |keys| c.vmul(keys, scale)))
            .collect();
        let scaled = |sums: &[Any<'c>]| {
            sums.iter().zip(&scales).map(|(s, &scale)| c.vmul(s.into_vector_value(), scale)).collect()
        };
        sums.chunks(per_query).map(scaled).collect()
    }

    /// `values · keep + Σ p · v` over the first `count` positions of a tile.
    fn add_values(&self, c: &Code<'c, '_>, tile: Int<'c>, count: Int<'c>) {
        let all = pieces(u64::from(c.plan.dims.head_dim));
        let whole: u64 = all.iter().filter(|p| p.1 == LANES).count() as u64;
        let together = (1..=VALUE_SUMS / self.queries.len() as u64).rev().find(|n| whole.is_multiple_of(*n));
        let together = together.unwrap_or(1);
        let lanes = u64::from(LANES);
        c.for_each("column", c.int(0), c.int(whole * lanes), together * lanes, |column| {
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
            let mut sums: Vec<Vector> = sums.iter().map(|sum| sum.into_vector_value()).collect();
            for (n, query) in self.queries.iter().enumerate() {
                let p = self.cache.operand(c, query.probabilities, step, lanes).named("p");
                let name = format!("value{n}.sum");
                for (sum, &v) in sums[n * columns.len()..].iter_mut().zip(&values) {
                    *sum = self.cache.multiply(c, sum.named(&name), v, p).named(&name);
                }
            }
            sums.into_iter().map(Any::from).collect()
        };
        let steps = c.div(count, c.int(per_step(self.cache.ty)));
        let sums = c.fold("step", c.int(0), steps, 1, &init, |step, sums| add(step, None, sums));
        let places: Vec<Ptr> =
            self.queries.iter().flat_map(|q| columns.iter().map(move |&column| place(q, column))).collect();
        for (&at, sum) in places.iter().zip(sums) {
            c.store(at, sum.into_vector_value(), 64);
        }
        if self.cache.ty == KvType::Bf16 {
            // With an odd count the last bf16 pair is half padding.
            let alone = c.cmp(IntPredicate::NE, c.rem(count, c.int(2)), c.int(0));
            c.when("alone", alone, || {
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
    let rounded = c.stack("q.rounded", c.vec_f32(LANES).array_type(all.len() as u32).into());
    for (column, lanes) in all {
        let piece = c.load_vec(c.vec_f32(lanes), c.plus(q, 4 * column), 4);
        c.store(c.plus(rounded, 2 * column), c.to_bf16(piece), 32);
    }
    rounded
}
