//! Vectors in the vocabulary of kernels: float arithmetic, conversions, lanes.
//!
//! In: vectors of any width. Out: instructions at the function's end. Invariant: no fast-math flags, so
//! LLVM may not reorder sums.

use inkwell::types::VectorType;
use inkwell::values::{BasicValue, BasicValueEnum};

use crate::builder::{built, Any, Code, Float, Int, Vector};

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

    /// `a · b + c`, rounded once where the CPU can, twice where it cannot.
    pub fn fma(&self, a: Vector<'c>, b: Vector<'c>, c: Vector<'c>) -> Vector<'c> {
        if self.cpu.has("fma") {
            self.intrinsic("llvm.fma", &[a.get_type().into()], &[a.into(), b.into(), c.into()])
                .into_vector_value()
        } else {
            self.vadd(self.vmul(a, b), c)
        }
    }

    // Conversions and lanes.

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
