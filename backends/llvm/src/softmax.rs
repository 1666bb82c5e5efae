//! A softmax over positions that come in tiles, and the sum that it weights.
//!
//! In: scores of tiles, values. Out: weighted values over their sum. Invariant: a part is its maximum, its
//! sum per lane and its weighted values; two parts join in the order of their positions (Milakov &
//! Gimelshein 2018).

use inkwell::IntPredicate;
use qwenc_abi::KvType;
use qwenc_plan::{Attention, LANES};

use crate::builder::{Code, Float, Int, Ptr, Vector};
use crate::cache::Cache;
use crate::prepare::pieces;

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
        Attention::part_bytes(&c.plan.dims)
    }

    /// On the stack, empty when [`Part::clear`]ed.
    pub fn on_stack(c: &Code<'c, '_>) -> Part<'c> {
        Part(c.stack(c.vec_f32(LANES).array_type((Part::bytes(c) / 64) as u32).into()))
    }

    pub fn clear(self, c: &Code<'c, '_>) {
        c.store(self.0, c.float(f32::NEG_INFINITY), 4);
        c.for_each(c.int(64), c.int(Part::bytes(c)), 64, |at| {
            c.store(c.at(self.0, at), c.floats(0.0, LANES), 64);
        });
    }

    fn sum(self, c: &Code<'c, '_>) -> Ptr<'c> {
        c.plus(self.0, 64)
    }

    /// Weighted values from byte `at` on.
    pub fn values(self, c: &Code<'c, '_>, at: Int<'c>) -> Ptr<'c> {
        c.at(c.plus(self.0, 128), at)
    }

    /// Takes in a part that comes after this one.
    pub fn join(self, c: &Code<'c, '_>, later: Part<'c>) {
        let (before, after) = (c.load_f32(self.0), c.load_f32(later.0));
        let max = c.fselect(c.fgreater(after, before), after, before);
        // Before the first part `before` is -inf, which `exp` takes as its smallest argument, and
        // everything that it scales is zero.
        let factor = |of: Float<'c>| c.exp(c.vsub(c.splat(of, LANES), c.splat(max, LANES)));
        let (keep, take) = (factor(before), factor(after));
        c.store(self.0, max, 4);
        c.for_each(c.int(64), c.int(Part::bytes(c)), 64, |at| {
            let load = |part: Part<'c>| c.load_vec(c.vec_f32(LANES), c.at(part.0, at), 64);
            c.store(c.at(self.0, at), c.fma(load(self), keep, c.vmul(load(later), take)), 64);
        });
    }

    /// Weighted values over their sum.
    pub fn finish(self, c: &Code<'c, '_>, out: Ptr<'c>) {
        let sum = c.sum_lanes(c.load_vec(c.vec_f32(LANES), self.sum(c), 64));
        for (column, lanes) in pieces(u64::from(c.plan.dims.head_dim)) {
            let v = c.load_vec(c.vec_f32(lanes), self.values(c, c.int(4 * column)), 64);
            c.store(c.plus(out, 4 * column), c.vdiv(v, c.splat(sum, lanes)), 4);
        }
    }
}

/// Where a query stands, and what a tile leaves for its values.
pub(crate) struct Query<'c> {
    /// As the cache's keys want it.
    pub q: Ptr<'c>,
    /// Sees positions `first ..= position`.
    pub first: Int<'c>,
    pub position: Int<'c>,
    pub part: Part<'c>,
    /// The tile's probabilities, as the cache's values want them.
    pub probabilities: Ptr<'c>,
    /// The factor that the tile's maximum puts on what was before.
    pub keep: Ptr<'c>,
}

impl<'c> Query<'c> {
    /// Takes a tile's scores into maximum and sum; leaves probabilities and `keep`.
    pub fn update(&self, c: &Code<'c, '_>, cache: &Cache<'c>, scores: &[Vector<'c>], tile: Int<'c>) {
        let wide = |n: Int<'c>| c.splat(c.trunc(n, c.i32()), LANES);
        let start = |v: usize| c.add(tile, c.int(v as u64 * u64::from(LANES)));
        let visible = |v: usize| {
            let positions = c.add_vec(wide(start(v)), c.lane_numbers(LANES));
            let past = c.cmp_vec(IntPredicate::ULE, positions, wide(self.position));
            c.and_vec(past, c.cmp_vec(IntPredicate::UGE, positions, wide(self.first)))
        };
        let (zero, low) = (c.floats(0.0, LANES), c.floats(f32::NEG_INFINITY, LANES));
        let seen: Vec<Vector> = (0..scores.len()).map(visible).collect();
        let scores: Vec<Vector> = scores.iter().zip(&seen).map(|(&s, &v)| c.vselect(v, s, low)).collect();
        let highest = scores.iter().skip(1).fold(scores[0], |a, &b| c.larger(a, b));
        let (old, highest) = (c.load_f32(self.part.0), c.max_lanes(highest));
        let max = c.fselect(c.fgreater(highest, old), highest, old);
        c.store(self.part.0, max, 4);
        // Before the first visible position both are -inf; `exp` takes their difference, which is no
        // number, as its smallest argument, and everything it scales is still zero.
        let keep = c.exp(c.vsub(c.splat(old, LANES), c.splat(max, LANES)));
        c.store(self.keep, c.lane(keep, 0).into_float_value(), 4);
        let mut sum = c.vmul(c.load_vec(c.vec_f32(LANES), self.part.sum(c), 64), keep);
        for (v, (&scores, &seen)) in scores.iter().zip(&seen).enumerate() {
            let p = c.vselect(seen, c.exp(c.vsub(scores, c.splat(max, LANES))), zero);
            let (p, stored) = match cache.ty {
                KvType::F32 => (p, p),
                // The sum is of what weights the values.
                KvType::Bf16 => {
                    let halves = c.to_bf16(p);
                    (c.bf16_to_f32(halves), halves)
                }
                KvType::I8 => {
                    let scales = cache.value_scales(c, start(v)).unwrap_or(zero);
                    (p, c.vselect(seen, c.vmul(p, scales), zero))
                }
            };
            let bytes = if cache.ty == KvType::Bf16 { 2 } else { 4 };
            c.store(c.plus(self.probabilities, v as u64 * u64::from(LANES) * bytes), stored, 32);
            sum = c.vadd(sum, p);
        }
        c.store(self.part.sum(c), sum, 64);
    }
}
