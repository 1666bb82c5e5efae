//! Plain vector arithmetic, for any CPU.
//!
//! In: vectors. Out: what an instruction would give. Invariant: nothing here asks which CPU it is.

use qwenc_formats::LANES;

use crate::builder::{Code, Vector};

/// Each i32 lane of `sum` plus the dot product of four unsigned with four signed bytes.
pub(super) fn dot4<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    let (bytes, wide) = (c.i8().vec_type(4 * LANES), c.vec_i32(4 * LANES));
    let (w, x) = (c.zext_vec(c.bits(w, bytes), wide), c.sext_vec(c.bits(x, bytes), wide));
    let products = c.mul_vec_int(w, x);
    (0..4).fold(sum, |sum, i| {
        let lanes: Vec<u32> = (0..LANES).map(|l| 4 * l + i).collect();
        c.add_vec(sum, c.shuffle(products, products, &lanes))
    })
}

/// Each lane of `sum` plus the products of both pairs of bf16, in f32.
pub(super) fn dot2<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    let (first, second) = (c.bf16_pair(w), c.bf16_pair(x));
    let sum = c.fma(first[0], second[0], sum);
    c.fma(first[1], second[1], sum)
}

/// `x · 2^k`: the power's bits are put together.
pub(super) fn times_power<'c>(c: &Code<'c, '_>, x: Vector<'c>, k: Vector<'c>) -> Vector<'c> {
    let n = x.get_type().get_size();
    let exponent = c.add_vec(c.to_int(k, c.vec_i32(n)), c.ints(c.i32(), 127, n));
    let power = c.shl_vec(exponent, c.ints(c.i32(), 23, n));
    c.vmul(x, c.bits(power, c.vec_f32(n)))
}

/// Finite f16 to f32.
pub(super) fn f16_to_f32<'c>(c: &Code<'c, '_>, halves: Vector<'c>) -> Vector<'c> {
    let lanes = halves.get_type().get_size();
    let bits = c.sext_vec(halves, c.vec_i32(lanes));
    // Sign, exponent and mantissa in the places of f32; the exponents' biases differ by 112.
    let shifted = c.shl_vec(bits, c.ints(c.i32(), 13, lanes));
    let placed = c.and_vec(shifted, c.ints(c.i32(), 0x8FFF_E000, lanes));
    c.vmul(c.bits(placed, c.vec_f32(lanes)), c.floats(2f32.powi(112), lanes))
}

/// f32 to bf16 as i16.
pub(super) fn to_bf16<'c>(c: &Code<'c, '_>, x: Vector<'c>) -> Vector<'c> {
    let lanes = x.get_type().get_size();
    let number = |n: u64| c.ints(c.i32(), n, lanes);
    let bits = c.bits(x, c.vec_i32(lanes));
    let odd = c.and_vec(c.lshr_vec(bits, number(16)), number(1));
    let rounded = c.add_vec(c.add_vec(bits, number(0x7FFF)), odd);
    c.trunc_vec(c.lshr_vec(rounded, number(16)), c.i16().vec_type(lanes))
}
