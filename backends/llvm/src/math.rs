//! Functions that the hardware lacks, on vectors of any width.
//!
//! In: f32 vectors. Out: f32 vectors, the same bits on every CPU with fused multiply-add. No libm.

use inkwell::IntPredicate;

use qwenc_formats::LANES;

use crate::builder::{Code, Float, Int, Vector};
use crate::prepare::pieces;

impl<'c> Code<'c, '_> {
    /// `exp(x)`, relative error below 2e-7 for x in [-87.3, 88.3]; clamped outside. Range reduction by
    /// ln 2 in two parts, then the polynomial of Cephes' expf.
    pub fn exp(&self, x: Vector<'c>) -> Vector<'c> {
        let n = x.get_type().get_size();
        let c = |v: f32| self.floats(v, n);
        // What is no number becomes the smallest argument.
        let x = self.smaller(self.larger(x, c(-87.3)), c(88.3));
        let k = self.vector_intrinsic("llvm.roundeven", &[self.vmul(x, c(std::f32::consts::LOG2_E))]);
        let r = self.fma(k, c(-0.693_359_4), x);
        let r = self.fma(k, c(2.121_944_4e-4), r);
        let mut p = c(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = self.fma(p, r, c(coefficient));
        }
        self.times_power(self.vadd(self.fma(p, self.vmul(r, r), r), c(1.0)), k)
    }

    /// `x / (1 + exp(-x))`.
    pub fn silu(&self, x: Vector<'c>) -> Vector<'c> {
        let n = x.get_type().get_size();
        let one = self.floats(1.0, n);
        self.vdiv(x, self.vadd(one, self.exp(self.vneg(x))))
    }

    /// `1 / sqrt(sum / count + eps)`, both operations correctly rounded.
    pub fn inverse_rms(&self, sum: Float<'c>, count: u32, eps: f32) -> Float<'c> {
        let mean = self.fdiv(sum, self.float(count as f32));
        let shifted = self.fadd(mean, self.float(eps));
        let root = self.intrinsic("llvm.sqrt", &[self.f32().into()], &[shifted.into()]).into_float_value();
        self.fdiv(self.float(1.0), root)
    }

    /// Divisor that makes magnitudes up to `largest` at most `steps`, and its inverse. Both are zero
    /// for magnitudes so small that a division would overflow.
    pub fn scale_and_inverse(&self, largest: Float<'c>, steps: f32) -> (Float<'c>, Float<'c>) {
        let (zero, steps) = (self.float(0.0), self.float(steps));
        let some = self.fgreater(largest, self.float(1e-30));
        let scale = self.fselect(some, self.fdiv(largest, steps), zero);
        (scale, self.fselect(some, self.fdiv(steps, largest), zero))
    }

    /// `(sin x, cos x)` for |x| up to 1e6, through f64: pi/2 subtracted in two parts, then Taylor
    /// polynomials on [-pi/4, pi/4] whose first omitted term is below 1e-11.
    pub fn sin_cos(&self, x: Vector<'c>) -> (Vector<'c>, Vector<'c>) {
        let n = x.get_type().get_size();
        let (f32s, f64s) = (self.vec_f32(n), self.cx.f64_type().vec_type(n));
        let c = |v: f64| {
            let one = self.cx.f64_type().const_float(v);
            inkwell::types::VectorType::const_vector(&vec![one; n as usize])
        };
        let x = self.widen(x, f64s);
        let k = self.vector_intrinsic("llvm.roundeven", &[self.vmul(x, c(std::f64::consts::FRAC_2_PI))]);
        // pi/2 to 33 bits, so that k times it is exact, and the rest.
        let r = self.vsub(x, self.vmul(k, c(f64::from_bits(0x3FF9_21FB_5440_0000))));
        let r = self.vsub(r, self.vmul(k, c(6.077_100_506_506_192e-11)));
        let r2 = self.vmul(r, r);
        let horner =
            |terms: &[f64]| terms.iter().skip(1).fold(c(terms[0]), |p, &t| self.vadd(self.vmul(p, r2), c(t)));
        let (f3, f5, f7) = (-1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0);
        let sin = horner(&[-1.0 / 39_916_800.0, 1.0 / 362_880.0, f7, f5, f3, 1.0]);
        let sin = self.vmul(sin, r);
        let cos = horner(&[
            1.0 / 479_001_600.0,
            -1.0 / 3_628_800.0,
            1.0 / 40_320.0,
            -1.0 / 720.0,
            1.0 / 24.0,
            -0.5,
            1.0,
        ]);
        let quadrant = self.to_int(k, self.vec_i32(n));
        let bit = |shifted: Vector<'c>, mask: u64| {
            let masked = self.and_vec(shifted, self.ints(self.i32(), mask, n));
            self.cmp_vec(IntPredicate::NE, masked, self.ints(self.i32(), 0, n))
        };
        let swap = bit(quadrant, 1);
        let (s, o) = (self.vselect(swap, cos, sin), self.vselect(swap, sin, cos));
        let sin = self.vselect(bit(quadrant, 2), self.vneg(s), s);
        let turned = self.add_vec(quadrant, self.ints(self.i32(), 1, n));
        let cos = self.vselect(bit(turned, 2), self.vneg(o), o);
        (self.narrow(sin, f32s), self.narrow(cos, f32s))
    }

    /// Sum of the lanes, from the first to the last in a fixed order.
    pub fn sum_lanes(&self, x: Vector<'c>) -> Float<'c> {
        let mut n = x.get_type().get_size();
        if !n.is_power_of_two() {
            let zero = self.float(0.0);
            let args = [zero.into(), x.into()];
            return self
                .intrinsic("llvm.vector.reduce.fadd", &[x.get_type().into()], &args)
                .into_float_value();
        }
        let mut x = x;
        while n > 1 {
            n /= 2;
            let low: Vec<u32> = (0..n).collect();
            let high: Vec<u32> = (n..2 * n).collect();
            x = self.vadd(self.shuffle(x, x, &low), self.shuffle(x, x, &high));
        }
        self.lane(x, 0).into_float_value()
    }

    /// Sum of the lanes of integers.
    pub fn sum_int_lanes(&self, x: Vector<'c>) -> Int<'c> {
        self.intrinsic("llvm.vector.reduce.add", &[x.get_type().into()], &[x.into()]).into_int_value()
    }

    /// The largest lane; what it is when a lane is no number depends on the lanes' order.
    pub fn max_lanes(&self, x: Vector<'c>) -> Float<'c> {
        let (mut n, mut x) = (x.get_type().get_size(), x);
        while n > 1 {
            // Halves that share a lane when there is an odd number of them.
            let half = n.div_ceil(2);
            let low: Vec<u32> = (0..half).collect();
            let high: Vec<u32> = (n - half..n).collect();
            x = self.larger(self.shuffle(x, x, &low), self.shuffle(x, x, &high));
            n = half;
        }
        self.lane(x, 0).into_float_value()
    }

    /// The largest lane of each of some vectors, a power of two of them and at most as many as lanes, in a lane each:
    /// vectors join in pairs, and what is left of each halves.
    pub fn largest_of_each<const N: usize>(&self, vectors: [Vector<'c>; N]) -> Vector<'c> {
        let mut all = vectors.to_vec();
        let mut left = all[0].get_type().get_size();
        while left > 1 {
            left /= 2;
            let join = |pair: &[Vector<'c>]| {
                let lanes = pair.len() as u32 * pair[0].get_type().get_size();
                let half = |upper: u32| {
                    let kept: Vec<u32> = (0..lanes).filter(|lane| lane / left % 2 == upper).collect();
                    self.shuffle(pair[0], pair[pair.len() - 1], &kept)
                };
                self.larger(half(0), half(1))
            };
            all = all.chunks(2).map(join).collect();
        }
        all[0]
    }

    /// The largest magnitude of `width` values that `load(first, lanes)` gives in pieces.
    pub fn max_magnitude(&self, width: u64, load: impl Fn(u64, u32) -> Vector<'c>) -> Float<'c> {
        let magnitude = |(at, lanes)| self.vector_intrinsic("llvm.fabs", &[load(at, lanes)]);
        let all = pieces(width);
        let (whole, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| p.1 == LANES);
        let parts = [whole, rest].map(|part| {
            let largest = part.into_iter().map(magnitude).reduce(|a, b| self.larger(a, b));
            largest.map(|v| self.max_lanes(v))
        });
        let largest = parts.into_iter().flatten().reduce(|a, b| self.fselect(self.fgreater(a, b), a, b));
        largest.unwrap_or_else(|| self.float(0.0))
    }
}
