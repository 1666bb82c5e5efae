//! A small vocabulary over inkwell's builder, in which kernels are written.
//!
//! In: values of the function being built. Out: instructions at its end. Invariant: no fast-math
//! flags anywhere, so LLVM may not reorder sums.

use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicTypeEnum, FloatType, IntType, VectorType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, FloatValue, FunctionValue, IntValue, PointerValue,
    VectorValue,
};
use inkwell::{AddressSpace, AtomicOrdering, AtomicRMWBinOp, FloatPredicate, IntPredicate};
use qwenc_plan::Plan;

use crate::cpu::Cpu;

pub(crate) type Int<'c> = IntValue<'c>;
pub(crate) type Float<'c> = FloatValue<'c>;
pub(crate) type Ptr<'c> = PointerValue<'c>;
pub(crate) type Vector<'c> = VectorValue<'c>;
pub(crate) type Any<'c> = BasicValueEnum<'c>;

/// A function under construction.
pub(crate) struct Code<'c, 'a> {
    pub cx: &'c Context,
    pub module: &'a Module<'c>,
    pub b: Builder<'c>,
    pub cpu: &'a Cpu,
    pub plan: &'a Plan,
    pub function: FunctionValue<'c>,
}

/// The nearest cache that a prefetch fills, as LLVM numbers them.
#[derive(Clone, Copy)]
pub(crate) enum Near {
    First = 3,
    Second = 2,
}

/// The result of an instruction builder.
pub(crate) fn built<T>(r: Result<T, BuilderError>) -> T {
    // Building fails only without an insertion point or on operands of the wrong type: both would be
    // bugs of the emitters, and every emitter runs in the tests.
    r.expect("the builder has an insertion point and well-typed operands")
}

impl<'c> Code<'c, '_> {
    // Types.

    pub fn i8(&self) -> IntType<'c> {
        self.cx.i8_type()
    }

    pub fn i16(&self) -> IntType<'c> {
        self.cx.i16_type()
    }

    pub fn i32(&self) -> IntType<'c> {
        self.cx.i32_type()
    }

    pub fn i64(&self) -> IntType<'c> {
        self.cx.i64_type()
    }

    pub fn f32(&self) -> FloatType<'c> {
        self.cx.f32_type()
    }

    pub fn vec_f32(&self, lanes: u32) -> VectorType<'c> {
        self.f32().vec_type(lanes)
    }

    pub fn vec_i32(&self, lanes: u32) -> VectorType<'c> {
        self.i32().vec_type(lanes)
    }

    // Constants.

    pub fn int(&self, n: u64) -> Int<'c> {
        self.i64().const_int(n, false)
    }

    pub fn float(&self, x: f32) -> Float<'c> {
        self.f32().const_float(f64::from(x))
    }

    /// All lanes `x`.
    pub fn floats(&self, x: f32, lanes: u32) -> Vector<'c> {
        VectorType::const_vector(&vec![self.float(x); lanes as usize])
    }

    /// All lanes `n`.
    pub fn ints(&self, ty: IntType<'c>, n: u64, lanes: u32) -> Vector<'c> {
        VectorType::const_vector(&vec![ty.const_int(n, true); lanes as usize])
    }

    /// `0, 1, 2, ...` as i32.
    pub fn lane_numbers(&self, lanes: u32) -> Vector<'c> {
        let all: Vec<_> = (0..lanes).map(|i| self.i32().const_int(u64::from(i), false)).collect();
        VectorType::const_vector(&all)
    }

    // Memory.

    /// `base + bytes`.
    pub fn at(&self, base: Ptr<'c>, bytes: Int<'c>) -> Ptr<'c> {
        // SAFETY: offsets come from a checked plan, whose buffers and segments hold them.
        built(unsafe { self.b.build_gep(self.i8(), base, &[bytes], "") })
    }

    /// `base + bytes`, known when compiling.
    pub fn plus(&self, base: Ptr<'c>, bytes: u64) -> Ptr<'c> {
        self.at(base, self.int(bytes))
    }

    fn load(&self, ty: BasicTypeEnum<'c>, from: Ptr<'c>, align: u32) -> Any<'c> {
        let value = built(self.b.build_load(ty, from, ""));
        if let Some(load) = value.as_instruction_value() {
            // A power of two is always accepted.
            load.set_alignment(align).expect("alignment is a power of two");
        }
        value
    }

    pub fn load_vec(&self, ty: VectorType<'c>, from: Ptr<'c>, align: u32) -> Vector<'c> {
        self.load(ty.into(), from, align).into_vector_value()
    }

    pub fn load_f32(&self, from: Ptr<'c>) -> Float<'c> {
        self.load(self.f32().into(), from, 4).into_float_value()
    }

    pub fn load_int(&self, ty: IntType<'c>, from: Ptr<'c>) -> Int<'c> {
        self.load(ty.into(), from, ty.get_bit_width() / 8).into_int_value()
    }

    pub fn load_ptr(&self, from: Ptr<'c>) -> Ptr<'c> {
        let ty = self.cx.ptr_type(AddressSpace::default());
        self.load(ty.into(), from, 8).into_pointer_value()
    }

    pub fn store<V: BasicValue<'c>>(&self, to: Ptr<'c>, value: V, align: u32) {
        let store = built(self.b.build_store(to, value));
        // A power of two is always accepted.
        store.set_alignment(align).expect("alignment is a power of two");
    }

    /// Asks for the cache line at `p`, which need not be mapped.
    pub fn prefetch(&self, p: Ptr<'c>, near: Near) {
        // Read; how near; data.
        let flags = [0, near as u64, 1].map(|n| self.i32().const_int(n, false).into());
        // The name is known to the pinned LLVM, and overloaded on the pointer's type.
        let intrinsic = Intrinsic::find("llvm.prefetch").expect("the intrinsic exists in the pinned LLVM");
        let f = intrinsic.get_declaration(self.module, &[p.get_type().into()]);
        // As above.
        let f = f.expect("the intrinsic has this overload");
        built(self.b.build_call(f, &[p.into(), flags[0], flags[1], flags[2]], ""));
    }

    /// Asks for all cache lines of a range.
    pub fn prefetch_range(&self, start: Ptr<'c>, bytes: u64) {
        (0..bytes.div_ceil(64)).for_each(|line| self.prefetch(self.plus(start, 64 * line), Near::First));
    }

    /// Adds to a shared counter; returns what it was.
    pub fn fetch_add(&self, counter: Ptr<'c>, n: Int<'c>) -> Int<'c> {
        let order = AtomicOrdering::Monotonic;
        built(self.b.build_atomicrmw(AtomicRMWBinOp::Add, counter, n, order))
    }

    /// Stack space, allocated once in the entry block.
    pub fn stack(&self, name: &str, ty: BasicTypeEnum<'c>) -> Ptr<'c> {
        let builder = self.cx.create_builder();
        // The function has had an entry block since `Code` was made.
        let entry = self.function.get_first_basic_block().expect("the function has an entry block");
        match entry.get_first_instruction() {
            Some(first) => builder.position_before(&first),
            None => builder.position_at_end(entry),
        }
        built(builder.build_alloca(ty, name))
    }

    /// The same address, of which LLVM knows nothing: it goes through an empty piece of assembly. Stack
    /// space behind it stays in memory, and what was loaded through the other is loaded again.
    pub fn opaque(&self, p: Ptr<'c>) -> Ptr<'c> {
        let pointer = p.get_type();
        let signature = pointer.fn_type(&[pointer.into()], false);
        let (nothing, same) = (String::new(), "=r,0".to_string());
        let asm = self.cx.create_inline_asm(signature, nothing, same, false, false, None, false);
        let call = built(self.b.build_indirect_call(signature, asm, &[p.into()], ""));
        // The signature above returns a pointer.
        call.try_as_basic_value().basic().expect("a pointer").into_pointer_value()
    }

    // Integers.

    pub fn add(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_nuw_add(a, b, ""))
    }

    pub fn sub(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_sub(a, b, ""))
    }

    pub fn mul(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_nuw_mul(a, b, ""))
    }

    /// `a + b`, wrapping, of any width.
    pub fn sum_i32(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_add(a, b, ""))
    }

    /// `a · b` of 32-bit numbers.
    pub fn times_i32(&self, a: Int<'c>, b: i32) -> Int<'c> {
        built(self.b.build_int_mul(a, self.i32().const_int(b as u64, true), ""))
    }

    pub fn times(&self, a: Int<'c>, b: u64) -> Int<'c> {
        self.mul(a, self.int(b))
    }

    pub fn div(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_unsigned_div(a, b, ""))
    }

    pub fn rem(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_unsigned_rem(a, b, ""))
    }

    pub fn max(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        self.intrinsic("llvm.umax", &[self.i64().into()], &[a.into(), b.into()]).into_int_value()
    }

    pub fn min(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        let less = self.cmp(IntPredicate::ULT, a, b);
        built(self.b.build_select(less, a, b, "")).into_int_value()
    }

    pub fn cmp(&self, p: IntPredicate, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_int_compare(p, a, b, ""))
    }

    pub fn cmp_vec(&self, p: IntPredicate, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_int_compare(p, a, b, ""))
    }

    pub fn and(&self, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_and(a, b, ""))
    }

    pub fn and_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_and(a, b, ""))
    }

    pub fn add_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_int_add(a, b, ""))
    }

    pub fn mul_vec_int(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_int_mul(a, b, ""))
    }

    pub fn shl_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_left_shift(a, b, ""))
    }

    /// Arithmetic shift right.
    pub fn shr_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_right_shift(a, b, true, ""))
    }

    pub fn lshr_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_right_shift(a, b, false, ""))
    }

    pub fn xor_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_xor(a, b, ""))
    }

    pub fn sub_vec(&self, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_int_sub(a, b, ""))
    }

    pub fn zext(&self, a: Int<'c>, to: IntType<'c>) -> Int<'c> {
        built(self.b.build_int_z_extend(a, to, ""))
    }

    pub fn trunc(&self, a: Int<'c>, to: IntType<'c>) -> Int<'c> {
        built(self.b.build_int_truncate(a, to, ""))
    }

    pub fn zext_vec(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_int_z_extend(a, to, ""))
    }

    pub fn sext_vec(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_int_s_extend(a, to, ""))
    }

    pub fn trunc_vec(&self, a: Vector<'c>, to: VectorType<'c>) -> Vector<'c> {
        built(self.b.build_int_truncate(a, to, ""))
    }

    // Floats; scalars.

    pub fn fadd(&self, a: Float<'c>, b: Float<'c>) -> Float<'c> {
        built(self.b.build_float_add(a, b, ""))
    }

    pub fn fdiv(&self, a: Float<'c>, b: Float<'c>) -> Float<'c> {
        built(self.b.build_float_div(a, b, ""))
    }

    pub fn fgreater(&self, a: Float<'c>, b: Float<'c>) -> Int<'c> {
        built(self.b.build_float_compare(FloatPredicate::OGT, a, b, ""))
    }

    pub fn fselect(&self, c: Int<'c>, a: Float<'c>, b: Float<'c>) -> Float<'c> {
        built(self.b.build_select(c, a, b, "")).into_float_value()
    }

    pub fn select(&self, c: Int<'c>, a: Int<'c>, b: Int<'c>) -> Int<'c> {
        built(self.b.build_select(c, a, b, "")).into_int_value()
    }

    /// `a` where `c`, else `b`, whole vectors.
    pub fn select_vec(&self, c: Int<'c>, a: Vector<'c>, b: Vector<'c>) -> Vector<'c> {
        built(self.b.build_select(c, a, b, "")).into_vector_value()
    }

    // Calls.

    /// A call of an LLVM intrinsic, overloaded on `types`.
    pub fn intrinsic(
        &self,
        name: &str,
        types: &[BasicTypeEnum<'c>],
        args: &[BasicMetadataValueEnum<'c>],
    ) -> Any<'c> {
        // The names are literals of this crate, known to the pinned LLVM.
        let intrinsic = Intrinsic::find(name).expect("the intrinsic exists in the pinned LLVM");
        // The overload types are those of the operands.
        let f = intrinsic.get_declaration(self.module, types).expect("the intrinsic has this overload");
        let call = built(self.b.build_call(f, args, ""));
        // No intrinsic used here returns void.
        call.try_as_basic_value().basic().expect("the intrinsic returns a value")
    }

    /// An intrinsic of vectors of one type, returning that type.
    pub fn vector_intrinsic(&self, name: &str, args: &[Vector<'c>]) -> Vector<'c> {
        let ty = args[0].get_type();
        let args: Vec<BasicMetadataValueEnum> = args.iter().map(|&a| a.into()).collect();
        self.intrinsic(name, &[ty.into()], &args).into_vector_value()
    }

    pub fn ret(&self) {
        built(self.b.build_return(None));
    }
}
