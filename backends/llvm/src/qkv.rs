//! q/k norm and RoPE, and the cache write.
//!
//! In: `qkv[T, (H+2K)·h]`. Out: q and k normalised and rotated in place; k and v in the cache. Work is shared out by head, so that one token keeps several
//! threads busy.

use inkwell::IntPredicate;
use qwenc_abi::KvType;
use qwenc_formats::LANES;
use qwenc_plan::{PrepareQkv, SegmentId};

use crate::builder::{Float, Ptr, Vector};
use crate::cache::Cache;
use crate::kernel::Kernel;
use crate::names::Named;
use crate::prepare::pieces;

pub(crate) fn emit<'c>(k: &Kernel<'c, '_>, p: &PrepareQkv) {
    let c = &k.code;
    let d = c.plan.dims;
    let (heads, kv_heads, width) = (u64::from(d.heads), u64::from(d.kv_heads), 4 * u64::from(d.head_dim));
    let (qkv, rope) = (k.buffer(p.qkv), k.buffer(p.rope));
    let units = heads + kv_heads;
    let (start, end) = k.share(c.times(k.n_rows(), units));
    c.for_each("unit", start, end, 1, |unit| {
        let (row, head) = (c.div(unit, c.int(units)).named("row"), c.rem(unit, c.int(units)).named("head"));
        let line = k.row_of(qkv, p.qkv, row);
        let x = c.at(line, c.times(head, width)).named("head.x");
        let angles = k.row_of(rope, p.rope, row);
        let is_query = c.cmp(IntPredicate::ULT, head, c.int(heads));
        let done = || c.int(0).into();
        c.either(
            "query",
            is_query,
            || {
                for (at, y) in rotated(k, p, p.q_gain, x, angles) {
                    c.store(c.plus(x, 4 * at), y, 4);
                }
                done()
            },
            || {
                let kv_head = c.sub(head, c.int(heads)).named("kv_head");
                let v = c.at(line, c.times(c.add(kv_head, c.int(heads + kv_heads)), width)).named("head.v");
                for (at, y) in rotated(k, p, p.k_gain, x, angles) {
                    c.store(c.plus(x, 4 * at), y, 4);
                }
                let position = k.position(row);
                for ty in KvType::ALL {
                    c.when(&format!("kv_{}", ty.name()), k.kv_is(ty), || {
                        let cache = Cache::of(k, ty, row, kv_head);
                        cache.store_key(c, position, x);
                        cache.store_value(c, position, v);
                    });
                }
                done()
            },
        );
    });
    c.ret();
}

/// One head after norm and RoPE, as pieces with their first column.
fn rotated<'c>(
    k: &Kernel<'c, '_>,
    p: &PrepareQkv,
    gain: Option<SegmentId>,
    x: Ptr<'c>,
    angles: Ptr<'c>,
) -> Vec<(u64, Vector<'c>)> {
    let c = &k.code;
    let half = u64::from(c.plan.dims.head_dim / 2);
    let load = |base: Ptr<'c>, at: u64, lanes: u32| c.load_vec(c.vec_f32(lanes), c.plus(base, 4 * at), 4);
    let norm = gain.map(|g| (k.segment(g), inverse_rms(k, p, x)));
    let normed = |at: u64, lanes: u32| {
        let value = load(x, at, lanes);
        match norm {
            Some((g, scale)) => c.vmul(c.vmul(value, c.splat(scale, lanes)), load(g, at, lanes)),
            None => value,
        }
    };
    let mut out = Vec::new();
    for (at, lanes) in pieces(half) {
        let (re, im) = (normed(at, lanes).named("re"), normed(half + at, lanes).named("im"));
        let cos = load(angles, at, lanes).named("cos");
        let sin = load(angles, half + at, lanes).named("sin");
        out.push((at, c.fma(re, cos, c.vneg(c.vmul(im, sin)))));
        out.push((half + at, c.fma(im, cos, c.vmul(re, sin))));
    }
    out
}

fn inverse_rms<'c>(k: &Kernel<'c, '_>, p: &PrepareQkv, x: Ptr<'c>) -> Float<'c> {
    let c = &k.code;
    let head_dim = c.plan.dims.head_dim;
    let mut whole: Option<Vector> = None;
    let mut sum = c.float(0.0);
    for (at, lanes) in pieces(u64::from(head_dim)) {
        let v = c.load_vec(c.vec_f32(lanes), c.plus(x, 4 * at), 4);
        match whole {
            Some(s) if lanes == LANES => whole = Some(c.fma(v, v, s)),
            None if lanes == LANES => whole = Some(c.vmul(v, v)),
            _ => sum = c.sum_lanes(c.vmul(v, v)),
        }
    }
    if let Some(s) = whole {
        sum = c.fadd(c.sum_lanes(s), sum);
    }
    c.inverse_rms(sum, head_dim, p.eps.get()).named("inverse_rms")
}
