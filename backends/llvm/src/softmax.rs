//! A softmax over positions that come in tiles, and the sum that it weights.
//!
//! In: scores of tiles, values. Out: weighted values over their sum. Invariant: a part is its maximum, its
//! sum per lane and its weighted values; two parts join in the order of their positions (Milakov &
//! Gimelshein 2018).

use inkwell::IntPredicate;
use qwenc_abi::KvType;
use qwenc_formats::LANES;

use crate::builder::{Code, Float, Int, Ptr, Vector};
use crate::cache::Cache;
use crate::names::Named;
use crate::prepare::pieces;
use crate::schedule;

/// Vectors of positions in a tile: a maximum is taken over all of them at once.
pub(crate) const TILE_VECTORS: u64 = 2;
/// Positions of a tile.
pub(crate) const TILE: u64 = TILE_VECTORS * LANES as u64;

/// A part in memory: a maximum, sums at 64, values at 128.
#[derive(Clone, Copy)]
pub(crate) struct Part<'c>(pub Ptr<'c>);

impl<'c> Part<'c> {
    /// Bytes of a part, a multiple of 64.
    pub fn bytes(c: &Code) -> u64 {
        schedule::part_bytes(&c.plan.dims)
    }

    /// On the stack, empty when [`Part::clear`]ed.
    pub fn on_stack(c: &Code<'c, '_>, name: &str) -> Part<'c> {
        Part(c.stack(name, c.vec_f32(LANES).array_type((Part::bytes(c) / 64) as u32).into()))
    }

    pub fn clear(self, c: &Code<'c, '_>) {
        c.store(self.0, c.float(f32::NEG_INFINITY), 4);
        c.for_each("byte", c.int(64), c.int(Part::bytes(c)), 64, |at| {
            c.store(c.at(self.0, at), c.floats(0.0, LANES), 64);
        });
    }

    fn sum(self, c: &Code<'c, '_>) -> Ptr<'c> {
        c.plus(self.0, 64)
    }

    pub fn set_max(self, c: &Code<'c, '_>, max: Float<'c>) {
        c.store(self.0, max, 4);
    }

    /// Weighted values from byte `at` on.
    pub fn values(self, c: &Code<'c, '_>, at: Int<'c>) -> Ptr<'c> {
        c.at(c.plus(self.0, 128), at)
    }

    /// Takes in a part that comes after this one.
    pub fn join(self, c: &Code<'c, '_>, later: Part<'c>) {
        let (before, after) = (c.load_f32(self.0), c.load_f32(later.0));
        let max = c.fselect(c.fgreater(after, before), after, before).named("max");
        // Before the first part `before` is -inf, which `exp` takes as its smallest argument, and
        // everything that it scales is zero.
        let factor = |of: Float<'c>| c.exp(c.vsub(c.splat(of, LANES), c.splat(max, LANES)));
        let (keep, take) = (factor(before).named("keep"), factor(after).named("take"));
        c.store(self.0, max, 4);
        c.for_each("byte", c.int(64), c.int(Part::bytes(c)), 64, |at| {
            let load = |part: Part<'c>| c.load_vec(c.vec_f32(LANES), c.at(part.0, at), 64);
            c.store(c.at(self.0, at), c.fma(load(self), keep, c.vmul(load(later), take)), 64);
        });
    }

    /// Weighted values over their sum.
    pub fn finish(self, c: &Code<'c, '_>, out: Ptr<'c>) {
        let sum = c.sum_lanes(c.load_vec(c.vec_f32(LANES), self.sum(c), 64)).named("sum");
        for (column, lanes) in pieces(u64::from(c.plan.dims.head_dim)) {
            let v = c.load_vec(c.vec_f32(lanes), self.values(c, c.int(4 * column)), 64);
            c.store(c.plus(out, 4 * column), c.vdiv(v, c.splat(sum, lanes)), 4);
        }
    }
}

/// Queries that share their tiles, at most.
pub(crate) const MOST_QUERIES: usize = 8;

/// The maxima of queries that share their tiles, a lane for each, so that one `exp` does for all.
pub(crate) struct Maxima<'c> {
    now: Ptr<'c>,
    keep: Ptr<'c>,
}

impl<'c> Maxima<'c> {
    const LANES: u32 = MOST_QUERIES as u32;

    /// On the stack, of nothing when [`Maxima::clear`]ed.
    pub fn on_stack(c: &Code<'c, '_>) -> Maxima<'c> {
        let [now, keep] = ["maxima", "keeps"].map(|name| c.stack(name, c.vec_f32(Self::LANES).into()));
        Maxima { now, keep }
    }

    pub fn clear(&self, c: &Code<'c, '_>) {
        c.store(self.now, c.floats(f32::NEG_INFINITY, Self::LANES), 32);
    }

    /// Takes in scores, a vector for each query.
    fn update(&self, c: &Code<'c, '_>, scores: &[Vector<'c>]) {
        let old = c.load_vec(c.vec_f32(Self::LANES), self.now, 32);
        // Lanes without a query repeat the others.
        let highest =
            c.largest_of_each(std::array::from_fn::<_, MOST_QUERIES, _>(|n| scores[n % scores.len()]));
        let max = c.larger(highest, old).named("max");
        c.store(self.now, max, 32);
        // Before the first visible position both are -inf; `exp` takes their difference, which is no
        // number, as its smallest argument, and everything it scales is still zero.
        c.store(self.keep, c.exp(c.vsub(old, max)), 32);
    }

    /// The maximum of query `n`.
    pub fn of(&self, c: &Code<'c, '_>, n: usize) -> Float<'c> {
        c.load_f32(c.plus(self.now, 4 * n as u64)).named("max")
    }

    /// The factor that the last tile puts on what query `n` had before.
    pub fn keep(&self, c: &Code<'c, '_>, n: usize) -> Float<'c> {
        c.load_f32(c.plus(self.keep, 4 * n as u64)).named("keep")
    }
}

/// Position of a query, and the results that a tile leaves for its values.
pub(crate) struct Query<'c> {
    /// Address of the query in the form of the cache's keys.
    pub q: Ptr<'c>,
    /// Sees positions `first ..= position`.
    pub first: Int<'c>,
    pub position: Int<'c>,
    /// Has its maximum when all tiles are through.
    pub part: Part<'c>,
    /// The tile's probabilities, as the cache's values want them.
    pub probabilities: Ptr<'c>,
}

/// Takes a tile's scores, a row for each query, into maxima and sums; leaves probabilities.
pub(crate) fn update<'c>(
    c: &Code<'c, '_>,
    cache: &Cache<'c>,
    (queries, maxima): (&[Query<'c>], &Maxima<'c>),
    scores: &[Vec<Vector<'c>>],
    tile: Int<'c>,
) {
    let low = c.floats(f32::NEG_INFINITY, LANES);
    let seen: Vec<Vec<Vector>> = queries.iter().map(|query| query.visible(c, tile)).collect();
    let visible = |(scores, seen): (&Vec<Vector<'c>>, &Vec<Vector<'c>>)| -> Vec<Vector<'c>> {
        scores.iter().zip(seen).map(|(&s, &v)| c.vselect(v, s, low)).collect()
    };
    let scores: Vec<Vec<Vector>> = scores.iter().zip(&seen).map(visible).collect();
    let highest = |scores: &Vec<Vector<'c>>| scores.iter().skip(1).fold(scores[0], |a, &b| c.larger(a, b));
    maxima.update(c, &scores.iter().map(highest).collect::<Vec<_>>());
    for (n, ((query, scores), seen)) in queries.iter().zip(&scores).zip(&seen).enumerate() {
        query.weigh(c, cache, (maxima.of(c, n), maxima.keep(c, n)), (scores, seen), tile);
    }
}

/// Positions of a tile's vector `v`.
fn start<'c>(c: &Code<'c, '_>, tile: Int<'c>, v: usize) -> Int<'c> {
    c.add(tile, c.int(v as u64 * u64::from(LANES)))
}

impl<'c> Query<'c> {
    /// Which positions of a tile it sees.
    fn visible(&self, c: &Code<'c, '_>, tile: Int<'c>) -> Vec<Vector<'c>> {
        let wide = |n: Int<'c>| c.splat(c.trunc(n, c.i32()), LANES);
        let visible = |v: u64| {
            let positions = c.add_vec(wide(start(c, tile, v as usize)), c.lane_numbers(LANES));
            let past = c.cmp_vec(IntPredicate::ULE, positions, wide(self.position));
            c.and_vec(past, c.cmp_vec(IntPredicate::UGE, positions, wide(self.first))).named("visible")
        };
        (0..TILE_VECTORS).map(visible).collect()
    }

    /// Adds a tile's probabilities, and leaves them for the values.
    fn weigh(
        &self,
        c: &Code<'c, '_>,
        cache: &Cache<'c>,
        (max, keep): (Float<'c>, Float<'c>),
        (scores, seen): (&[Vector<'c>], &[Vector<'c>]),
        tile: Int<'c>,
    ) {
        let zero = c.floats(0.0, LANES);
        let mut sum = c.vmul(c.load_vec(c.vec_f32(LANES), self.part.sum(c), 64), c.splat(keep, LANES));
        for (v, (&scores, &seen)) in scores.iter().zip(seen).enumerate() {
            let p = c.vselect(seen, c.exp(c.vsub(scores, c.splat(max, LANES))), zero).named("p");
            let (p, stored) = match cache.ty {
                KvType::F32 => (p, p),
                // The sum is of what weights the values.
                KvType::Bf16 => {
                    let halves = c.to_bf16(p);
                    (c.bf16_to_f32(halves), halves)
                }
                KvType::I8 => {
                    let scales = cache.value_scales(c, start(c, tile, v)).unwrap_or(zero);
                    (p, c.vselect(seen, c.vmul(p, scales), zero))
                }
            };
            let bytes = if cache.ty == KvType::Bf16 { 2 } else { 4 };
            c.store(c.plus(self.probabilities, v as u64 * u64::from(LANES) * bytes), stored, 32);
            sum = c.vadd(sum, p).named("sum");
        }
        c.store(self.part.sum(c), sum, 64);
    }
}
