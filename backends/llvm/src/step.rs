//! The step function: kernels in order, all threads meeting after each.
//!
//! In: the kernels' functions. Out: the body of the function that the runtime calls on every thread. Where there is an
//! observer, the first thread calls it after each kernel, and all meet again; without one that costs a test of a
//! pointer.

use inkwell::values::FunctionValue;
use inkwell::IntPredicate;
use qwenc_abi::StepArgs;

use crate::builder::{Code, Int};
use crate::kernel::Kernel;
use crate::names::field;

/// The step: kernels in order, all threads meeting after each; layers as a loop.
/// `kernels` are the functions of prologue, block and head.
pub(crate) fn emit_step<'c>(code: Code<'c, '_>, kernels: [&[FunctionValue<'c>]; 3]) {
    code.b.position_at_end(code.cx.append_basic_block(code.function, "entry"));
    let k = Kernel::of_step(code);
    let zero = k.layer;
    let run = |functions: &[FunctionValue<'c>], first: usize, layer: Int<'c>| {
        for (number, f) in (first as u32..).zip(functions) {
            let operands = [k.args.into(), layer.into(), k.thread.into()];
            // Kernels are declared with these three parameters.
            k.code.b.build_call(*f, &operands, "").expect("a well-typed call");
            k.barrier();
            k.observe(number, layer);
            k.reset(number);
        }
    };
    let (block, head) = (kernels[0].len(), kernels[0].len() + kernels[1].len());
    run(kernels[0], 0, zero);
    let layers = k.code.int(u64::from(k.code.plan.dims.layers));
    k.code.for_each("layer", zero, layers, 1, |layer| run(kernels[1], block, layer));
    let wanted = k.field(field!(StepArgs, n_outputs));
    let any = k.code.cmp(IntPredicate::NE, wanted, zero);
    k.code.when("outputs", any, || run(kernels[2], head, zero));
    k.code.ret();
}
