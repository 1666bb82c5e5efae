//! The seam between kernels and instruction sets.
//!
//! In: an operation that LLVM IR has no name for. Out: the best instructions that the CPU has for it, else plain vector
//! arithmetic. Invariant: a dot product of bytes is the same on every CPU; what an instruction rounds in its own way is said
//! at its function.
//!
//! `x86.rs` has what CPUs of x86-64 offer: their names, features, registers and instructions. `generic.rs` does every
//! operation on any CPU. Another instruction set is a file beside them.

mod generic;
pub(crate) mod x86;

use inkwell::values::BasicMetadataValueEnum;
use qwenc_formats::LANES;

use crate::builder::{Code, Vector};

/// Range of the unsigned bytes that weights are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Number that was added to make the weights unsigned.
    pub bias: i32,
    /// The largest byte.
    pub largest: u8,
}

/// Each i32 lane of `sum` plus the dot product of its four bytes of weights, unsigned, with those of inputs, signed; exact
/// modulo 2^32.
pub(crate) fn dot4<'c>(
    c: &Code<'c, '_>,
    bytes: Bytes,
    sum: Vector<'c>,
    w: Vector<'c>,
    x: Vector<'c>,
) -> Vector<'c> {
    x86::dot4(c, bytes, sum, w, x).unwrap_or_else(|| generic::dot4(c, sum, w, x))
}

/// Whether [`dot4`] multiplies the bytes as they are, so that the caller takes the bias back; else it
/// multiplies the numbers.
pub(crate) fn keeps_bias(c: &Code, bytes: Bytes) -> bool {
    x86::keeps_bias(c, bytes)
}

/// Each lane of `sum` plus the products of both pairs of bf16: by an instruction, which may take numbers below the normal
/// ones as zero, or in f32.
pub(crate) fn dot2<'c>(c: &Code<'c, '_>, sum: Vector<'c>, w: Vector<'c>, x: Vector<'c>) -> Vector<'c> {
    x86::dot2(c, sum, w, x).unwrap_or_else(|| generic::dot2(c, sum, w, x))
}

/// Bytes of a vector.
pub(crate) const VECTOR_BYTES: u32 = 4 * LANES;

/// Each byte of `codes`, below 16, replaced by the byte of that number of the same 16 bytes of `table`; none where the CPU
/// cannot look 16 bytes up at once ([`x86::looks_up`]).
pub(crate) fn look_up<'c>(c: &Code<'c, '_>, table: Vector<'c>, codes: Vector<'c>) -> Option<Vector<'c>> {
    x86::look_up(c, table, codes)
}

/// `f` on the lower and upper 8 lanes of vectors of [`LANES`], joined.
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

impl<'c> Code<'c, '_> {
    /// `a · b + c`, rounded once where the CPU can, twice where it cannot.
    pub fn fma(&self, a: Vector<'c>, b: Vector<'c>, c: Vector<'c>) -> Vector<'c> {
        match x86::fuses(self.cpu) {
            true => self
                .intrinsic("llvm.fma", &[a.get_type().into()], &[a.into(), b.into(), c.into()])
                .into_vector_value(),
            false => self.vadd(self.vmul(a, b), c),
        }
    }

    /// `x · 2^k` for whole numbers k from -126 to 127.
    pub fn times_power(&self, x: Vector<'c>, k: Vector<'c>) -> Vector<'c> {
        x86::times_power(self, x, k).unwrap_or_else(|| generic::times_power(self, x, k))
    }

    /// f16 to f32, exactly: of any value where an instruction does it, else of finite ones.
    pub fn f16_to_f32(&self, halves: Vector<'c>) -> Vector<'c> {
        let lanes = halves.get_type().get_size();
        if x86::widens_f16(self.cpu) {
            let halves = self.bits(halves, self.cx.f16_type().vec_type(lanes));
            return self.widen(halves, self.vec_f32(lanes));
        }
        generic::f16_to_f32(self, halves)
    }

    /// f32 to bf16 as i16, to nearest and ties to even. Where an instruction does it, numbers too small for a
    /// normal f32 become zero.
    pub fn to_bf16(&self, x: Vector<'c>) -> Vector<'c> {
        x86::to_bf16(self, x).unwrap_or_else(|| generic::to_bf16(self, x))
    }

    /// An intrinsic of vectors of one type, named in full.
    fn instruction(&self, name: &str, args: &[Vector<'c>]) -> Vector<'c> {
        let args: Vec<BasicMetadataValueEnum> = args.iter().map(|&arg| arg.into()).collect();
        self.intrinsic(name, &[], &args).into_vector_value()
    }
}
