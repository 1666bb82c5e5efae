//! Vectors in the vocabulary of kernels: float arithmetic, conversions, lanes.
//!
//! In: vectors of any width. Out: instructions at the function's end. Invariant: no fast-math flags, so
//! LLVM may not reorder sums.

use inkwell::types::VectorType;
use inkwell::values::{BasicValue, BasicValueEnum};
use inkwell::FloatPredicate;

use crate::builder::{built, Any, Code, Float, Int, Ptr, Vector};

impl<'c> Code<'c, '_> {
    // Floats; vectors.

    pub fn vadd(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_float_add(a, b, ""))
    }

    pub fn vsub(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_float_sub(a, b, ""))
    }

    pub fn vmul(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_float_mul(a, b, ""))
    }

    pub fn vdiv(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_float_div(a, b, ""))
    }

    pub fn vneg(&self, a: Vector<'c>) -> Vector<'c> {
        built(self.b.build_float_neg(a, ""))
    }

    pub fn vselect(&self, c: Vector<'c>, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_select(c, a, b, "")).into_vector_value()
    }

    /// `a` where it is larger, else `b`.
    pub fn larger(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        self.vselect(built(self.b.build_float_compare(FloatPredicate::OGT, a, b, "")), a, b)
    }

    /// `a` where it is smaller, else `b`.
    pub fn smaller(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        self.vselect(built(self.b.build_float_compare(FloatPredicate::OLT, a, b, "")), a, b)
    }

    // Conversions and lanes.

    /// Values of f16 that are finite, as f32, exactly.
    pub fn load_f16(&self, from: Ptr<'c>, lanes: u32) -> Vector<'c> {
        self.f16_to_f32(self.load_vec(self.i16().vec_type(lanes), from, 2))
    }

    /// The lower and the upper bf16 of every lane, as f32.
    pub fn bf16_pair(&self, pairs: Vector<'c>) -> [Vector<'c>; 2] {
        let lanes = pairs.get_type().get_size();
        let even = self.shl_vec(pairs, self.ints(self.i32(), 16, lanes));
        let odd = self.and_vec(pairs, self.ints(self.i32(), 0xFFFF_0000, lanes));
        [even, odd].map(|v| self.bits(v, self.vec_f32(lanes)))
    }

    /// bf16 to f32.
    pub fn bf16_to_f32(&self, halves: Vector<'c>) -> Vector<'c> {
        let lanes = halves.get_type().get_size();
        let wide = self.zext_vec(halves, self.vec_i32(lanes));
        self.bits(self.shl_vec(wide, self.ints(self.i32(), 16, lanes)), self.vec_f32(lanes))
    }

    pub fn bits<V: BasicValue<'c>>(&self, a: V, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_bit_cast(a, to, "")).into_vector_value()
    }

    pub fn to_float(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_signed_int_to_float(a, to, ""))
    }

    pub fn to_int(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_float_to_signed_int(a, to, ""))
    }

    pub fn int_to_float(&self, a: Int<'c>) -> Float<'c> {
        built(self.b.build_unsigned_int_to_float(a, self.f32(), ""))
    }

    pub fn widen(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_float_ext(a, to, ""))
    }

    pub fn narrow(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_float_trunc(a, to, ""))
    }

    pub fn shuffle(&self, a: Vector<'c>, b: Vector<'c>, lanes: &[u32]) -> Vector<'c> {
        let mask: Vec<_> = lanes.iter().map(|&l| self.i32().const_int(u64::from(l), false)).collect();
        built(self.b.build_shuffle_vector(a, b, VectorType::const_vector(&mask), ""))
    }

    /// All lanes `x`.
    pub fn splat<V: BasicValue<'c>>(&self, x: V, lanes: u32) -> Vector<'c> {
        let ty = match x.as_basic_value_enum() {
            BasicValueEnum::FloatValue(f) => f.get_type().vec_type(lanes),
            BasicValueEnum::IntValue(i) => i.get_type().vec_type(lanes),
            // Only numbers are broadcast.
            other => panic!("broadcast of {other:?}"),
        };
        let undef = ty.get_undef();
        let one = built(self.b.build_insert_element(undef, x, self.i32().const_zero(), ""));
        self.shuffle(one, undef, &vec![0; lanes as usize])
    }

    pub fn lane(&self, a: Vector<'c>, lane: u32) -> Any<'c> {
        built(self.b.build_extract_element(a, self.i32().const_int(u64::from(lane), false), ""))
    }
}
