//! Keys and values of one sequence, layer and kv head, in any type of cache.
//!
//! In: a row of the step and a head. Out: addresses, and the arithmetic that reads and writes there.
//! `qwenc_abi::KvType` has the layout. A step is what one instruction takes from a lane: one element, or
//! a pair of bf16, which meet a pair of the other side in a dot product.

use qwenc_abi::KvType;
use qwenc_formats::LANES;

use crate::builder::{Code, Int, Ptr, Vector};
use crate::isa::dot2;
use crate::kernel::Kernel;
use crate::names::Named;
use crate::prepare::pieces;

/// Addresses of a head's part of a cache.
pub(crate) struct Cache<'c> {
    pub ty: KvType,
    keys: Ptr<'c>,
    values: Ptr<'c>,
    /// Scales of keys and of values; only int8 has them.
    scales: Option<[Ptr<'c>; 2]>,
}

/// Elements that one step takes.
pub(crate) fn per_step(ty: KvType) -> u64 {
    if ty == KvType::Bf16 {
        2
    } else {
        1
    }
}

impl<'c> Cache<'c> {
    /// This layer's cache of the sequence of row `r`, for kv head `head`.
    pub fn of(k: &Kernel<'c, '_>, ty: KvType, r: Int<'c>, head: Int<'c>) -> Cache<'c> {
        let c = &k.code;
        let (capacity, sequence) = (k.kv_capacity(), k.kv(r));
        let (heads, width) = (u64::from(c.plan.dims.kv_heads), u64::from(c.plan.dims.head_dim));
        let scale_bytes = if ty == KvType::I8 { 4 } else { 0 };
        let head_bytes = c.times(capacity, width * ty.element_bytes());
        let half = c.times(head_bytes, heads);
        let of_scales = c.times(capacity, heads * scale_bytes);
        let layer_bytes = c.times(c.add(half, of_scales), 2);
        let layer = c.at(sequence, c.mul(layer_bytes, k.layer)).named("kv.layer");
        let keys = c.at(layer, c.mul(head_bytes, head)).named("keys");
        let scales = (ty == KvType::I8).then(|| {
            let first = c.at(layer, c.times(half, 2));
            let of_keys = c.at(first, c.mul(c.times(capacity, 4), head)).named("keys.scales");
            [of_keys, c.at(of_keys, of_scales).named("values.scales")]
        });
        Cache { ty, keys, values: c.at(keys, half).named("values"), scales }
    }

    /// The keys of `step` at 16 positions from `first` on.
    pub fn keys(&self, c: &Code<'c, '_>, first: Int<'c>, step: Int<'c>) -> Vector<'c> {
        let e = self.ty.element_bytes();
        let tile = c.at(self.keys, c.times(first, u64::from(c.plan.dims.head_dim) * e));
        let at = c.at(tile, c.times(step, u64::from(LANES) * e * per_step(self.ty)));
        self.read(c, at, LANES).named("k")
    }

    /// The values of `step` from position `first` on, `lanes` of them from column `column` on.
    pub fn values(
        &self,
        c: &Code<'c, '_>,
        (first, step): (Int<'c>, Int<'c>),
        column: Int<'c>,
        lanes: u32,
    ) -> Vector<'c> {
        let e = self.ty.element_bytes() * per_step(self.ty);
        let row = c.add(c.div(first, c.int(per_step(self.ty))), step);
        let at = c.add(c.times(row, u64::from(c.plan.dims.head_dim)), column);
        self.read(c, c.at(self.values, c.times(at, e)), lanes).named("v")
    }

    /// Vector of elements: f32, or pairs of bf16 as i32.
    fn read(&self, c: &Code<'c, '_>, at: Ptr<'c>, lanes: u32) -> Vector<'c> {
        match self.ty {
            KvType::F32 => c.load_vec(c.vec_f32(lanes), at, 4),
            KvType::Bf16 => c.load_vec(c.vec_i32(lanes), at, 4),
            KvType::I8 => {
                let wide = c.sext_vec(c.load_vec(c.i8().vec_type(lanes), at, 1), c.vec_i32(lanes));
                c.to_float(wide, c.vec_f32(lanes))
            }
        }
    }

    /// Asks for the keys, or the values, that come `ahead` positions after `first`.
    pub fn prefetch(&self, c: &Code<'c, '_>, first: Int<'c>, ahead: u64) {
        let row = u64::from(c.plan.dims.head_dim) * self.ty.element_bytes();
        for half in [self.keys, self.values] {
            let start = c.at(half, c.times(c.add(first, c.int(ahead)), row));
            c.prefetch_range(start, row * u64::from(LANES));
        }
    }

    /// `sum + operand · element` of a step, for every lane.
    pub fn multiply(
        &self,
        c: &Code<'c, '_>,
        sum: Vector<'c>,
        element: Vector<'c>,
        operand: Vector<'c>,
    ) -> Vector<'c> {
        match self.ty {
            KvType::Bf16 => dot2(c, sum, element, operand),
            KvType::F32 | KvType::I8 => c.fma(element, operand, sum),
        }
    }

    /// The four bytes of `step` in a row of operands, in all lanes.
    pub fn operand(&self, c: &Code<'c, '_>, row: Ptr<'c>, step: Int<'c>, lanes: u32) -> Vector<'c> {
        let at = c.at(row, c.times(step, 4));
        match self.ty {
            KvType::Bf16 => c.splat(c.load_int(c.i32(), at), lanes),
            KvType::F32 | KvType::I8 => c.splat(c.load_f32(at), lanes),
        }
    }

    /// Scales of the products with keys at 16 positions from `first` on.
    pub fn key_scales(&self, c: &Code<'c, '_>, first: Int<'c>) -> Option<Vector<'c>> {
        self.scales_at(c, 0, first)
    }

    /// The same for the products with values.
    pub fn value_scales(&self, c: &Code<'c, '_>, first: Int<'c>) -> Option<Vector<'c>> {
        self.scales_at(c, 1, first)
    }

    /// The scales of keys or of values at 16 positions from `first` on.
    fn scales_at(&self, c: &Code<'c, '_>, half: usize, first: Int<'c>) -> Option<Vector<'c>> {
        let scales = self.scales?[half];
        Some(c.load_vec(c.vec_f32(LANES), c.at(scales, c.times(first, 4)), 4).named("scale"))
    }

    /// Writes the key of `position`: keys lie in tiles of 16 positions, so that scores need no sums over
    /// lanes.
    pub fn store_key(&self, c: &Code<'c, '_>, position: Int<'c>, key: Ptr<'c>) {
        let (e, lanes) = (self.ty.element_bytes() * per_step(self.ty), c.int(u64::from(LANES)));
        let in_tile = c.rem(position, lanes);
        let tile =
            c.times(c.sub(position, in_tile), u64::from(c.plan.dims.head_dim) * self.ty.element_bytes());
        let column = c.at(c.at(self.keys, tile), c.times(in_tile, e));
        let scale = self.store_scale(c, 0, position, key);
        for (at, n) in pieces(u64::from(c.plan.dims.head_dim)) {
            let piece = c.load_vec(c.vec_f32(n), c.plus(key, 4 * at), 4);
            let stored = match self.ty {
                KvType::F32 => piece,
                KvType::Bf16 => c.bits(c.to_bf16(piece), c.vec_i32(n / 2)),
                KvType::I8 => quantised(c, piece, scale),
            };
            for lane in 0..stored.get_type().get_size() {
                let step = at / per_step(self.ty) + u64::from(lane);
                let to = c.plus(column, u64::from(LANES) * e * step);
                c.store(to, c.lane(stored, lane), 1);
            }
        }
    }

    /// Writes the value of `position`.
    pub fn store_value(&self, c: &Code<'c, '_>, position: Int<'c>, value: Ptr<'c>) {
        let head_dim = u64::from(c.plan.dims.head_dim);
        let scale = self.store_scale(c, 1, position, value);
        let (e, both) = (self.ty.element_bytes(), c.int(per_step(self.ty)));
        // Of a pair, this is one.
        let row = c.times(c.div(position, both), head_dim * per_step(self.ty) * e);
        let to = c.at(c.at(self.values, row), c.times(c.rem(position, both), e));
        for (at, n) in pieces(head_dim) {
            let piece = c.load_vec(c.vec_f32(n), c.plus(value, 4 * at), 4);
            match self.ty {
                KvType::F32 => c.store(c.plus(to, 4 * at), piece, 4),
                KvType::I8 => c.store(c.plus(to, at), quantised(c, piece, scale), 1),
                KvType::Bf16 => {
                    let halves = c.to_bf16(piece);
                    for lane in 0..n {
                        c.store(c.plus(to, 4 * (at + u64::from(lane))), c.lane(halves, lane), 2);
                    }
                }
            }
        }
    }

    /// For int8: `max|x| / 127` of a head, stored; returns its inverse, or zero.
    fn store_scale(&self, c: &Code<'c, '_>, half: usize, position: Int<'c>, row: Ptr<'c>) -> Vector<'c> {
        let Some(scales) = self.scales else { return c.floats(0.0, LANES) };
        let largest = c.max_magnitude(u64::from(c.plan.dims.head_dim), |at, n| {
            c.load_vec(c.vec_f32(n), c.plus(row, 4 * at), 4)
        });
        let (scale, inverse) = c.scale_and_inverse(largest, 127.0);
        c.store(c.at(scales[half], c.times(position, 4)), scale.named("scale"), 4);
        c.splat(inverse, LANES)
    }
}

/// Rounded to bytes; `inverse` has the inverse of the scale in every lane.
fn quantised<'c>(c: &Code<'c, '_>, x: Vector<'c>, inverse: Vector<'c>) -> Vector<'c> {
    let n = x.get_type().get_size();
    let kept: Vec<u32> = (0..n).collect();
    let scaled = c.vmul(x, c.shuffle(inverse, inverse, &kept));
    let q = c.to_int(c.vector_intrinsic("llvm.roundeven", &[scaled]), c.vec_i32(n));
    c.trunc_vec(q, c.i8().vec_type(n))
}
