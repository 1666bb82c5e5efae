//! Dot products of four bytes or two bf16 per lane, with the best instruction of the CPU.
//!
//! In: sums, weights, inputs. Out: sums with the products added. Invariant: of bytes, weights unsigned and inputs
//! signed, sums are exact modulo 2^32, so that every CPU gives the same result.

use inkwell::types::VectorType;
use qwenc_formats::LANES;

use crate::builder::{Code, Vector};
use crate::cpu::{Vnni, BF16};

/// Range of the unsigned bytes that weights are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Number that was added to make the weights unsigned.
    pub bias: i32,
    /// The largest byte.
    pub largest: u8,
}

impl Bytes {
    /// Whether two products with inputs of up to 127 can leave 16 bits. Such bytes have a bias of 128.
    fn overflow(self) -> bool {
        2 * 127 * i32::from(self.largest) > i32::from(i16::MAX)
    }
}

/// Whether [`dot4`] multiplies the bytes as they are, so that the caller takes the bias back; else it
/// multiplies the numbers.
pub(crate) fn keeps_bias(c: &Code, bytes: Bytes) -> bool {
    !(bytes.overflow() && c.cpu.vnni().is_none() && c.cpu.has("avx2"))
}

/// Each i32 lane of `sum` plus the dot product of its four bytes of weights with those of inputs.
pub(crate) fn dot4<'c>(
    c: &Code<'c, '_>,
    bytes: Bytes,
    sum: Vector<'c>,
    w: Vector<'c>,
    x: Vector<'c>,
) -> Vector<'c> {
    match c.cpu.vnni() {
        Some(Vnni::Avx512) => {
            let args = [sum.into(), w.into(), x.into()];
            c.intrinsic("llvm.x86.avx512.vpdpbusd.512", &[], &args).into_vector_value()
        }
        Some(Vnni::Avx) => by_halves(c, &[sum, w, x], |v| {
            let args = [v[0].into(), v[1].into(), v[2].into()];
            c.intrinsic("llvm.x86.avx512.vpdpbusd.256", &[], &args).into_vector_value()
        }),
        None if c.cpu.has("avx2") => by_halves(c, &[sum, w, x], |v| dot4_avx2(c, bytes, v[0], v[1], v[2])),
        None => dot4_generic(c, sum, w, x),
    }
}

/// `f` on the lower and upper 8 lanes, joined.
fn by_halves<'c>(
    c: &Code<'c, '_>,
    operands: &[Vector<'c>],
    f: impl Fn(&[Vector<'c>]) -> Vector<'c>,
) -> Vector<'c> {
    let (low, high): (Vec<u32>, Vec<u32>) = ((0..8).collect(), (8..16).collect());
    let part = |lanes: &[u32]| {
        let parts: Vec<Vector> = operands.iter().map(|&v| c.shuffle(v, v, lanes)).collect();
        f(&parts)
    };
    let all: Vec<u32> = (0..16).collect();
    c.shuffle(part(&low), part(&high), &all)
}

/// Eight lanes by `vpmaddubsw`, which adds two products in 16 bits and saturates: weights that could overflow are
/// taken as magnitudes, at most 128, their signs put on the inputs, at most 127 in magnitude.
fn dot4_avx2<'c>(
    c: &Code<'c, '_>,
    bytes: Bytes,
    sum: Vector<'c>,
    w: Vector<'c>,
    x: Vector<'c>,
) -> Vector<'c> {
    let i8s = c.i8().vec_type(32);
    let (mut w, mut x) = (c.bits(w, i8s), c.bits(x, i8s));
    if bytes.overflow() {
        let q = c.xor_vec(w, c.ints(c.i8(), 128, 32));
        x = c.intrinsic("llvm.x86.avx2.psign.b", &[], &[x.into(), q.into()]).into_vector_value();
        let wraps = c.cx.bool_type().const_zero();
        w = c.intrinsic("llvm.abs", &[i8s.into()], &[q.into(), wraps.into()]).into_vector_value();
    }
    let pairs = c.intrinsic("llvm.x86.avx2.pmadd.ub.sw", &[], &[w.into(), x.into()]).into_vector_value();
    let ones = c.ints(c.i16(), 1, 16);
    let quads = c.intrinsic("llvm.x86.avx2.pmadd.wd", &[], &[pairs.into(), ones.into()]).into_vector_value();
    c.add_vec(sum, quads)
}

/// Plain vector arithmetic, for any CPU.
fn dot4_generic<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    let (bytes, wide) = (c.i8().vec_type(4 * LANES), c.vec_i32(4 * LANES));
    let (w, x) = (c.zext_vec(c.bits(w, bytes), wide), c.sext_vec(c.bits(x, bytes), wide));
    let products = c.mul_vec_int(w, x);
    (0..4).fold(sum, |sum, i| {
        let lanes: Vec<u32> = (0..LANES).map(|l| 4 * l + i).collect();
        c.add_vec(sum, c.shuffle(products, products, &lanes))
    })
}

/// Each lane of `sum` plus the products of both pairs of bf16: with `vdpbf16ps`, which takes tiny numbers as
/// zero, or in f32.
pub(crate) fn dot2<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    if c.cpu.has(BF16) && sum.get_type().get_size() == LANES {
        let pairs: VectorType = c.cx.bf16_type().vec_type(2 * LANES);
        let args = [sum.into(), c.bits(w, pairs).into(), c.bits(x, pairs).into()];
        return c.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", &[], &args).into_vector_value();
    }
    let (first, second) = (c.bf16_pair(w), c.bf16_pair(x));
    let sum = c.fma(first[0], second[0], sum);
    c.fma(first[1], second[1], sum)
}
