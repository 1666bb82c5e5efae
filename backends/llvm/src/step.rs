//! The step function: kernels in order, all threads meeting after each.
//!
//! In: the kernels' functions. Out: the body of the function that the runtime calls on every thread. Where there is an
//! observer, the first thread calls it after each kernel, and all meet again; without one that costs a test of a
//! pointer.

use std::ops::Range;

use inkwell::values::FunctionValue;
use inkwell::IntPredicate;
use qwenc_abi::StepArgs;

use crate::builder::{Code, Int};
use crate::kernel::Kernel;
use crate::names::field;

/// The step: kernels in order, all threads meeting after each; layers as a loop. `kernels` are the functions of all kernels.
pub(crate) fn emit_step<'c>(code: Code<'c, '_>, kernels: &[FunctionValue<'c>]) {
    code.b.position_at_end(code.cx.append_basic_block(code.function, "entry"));
    let k = Kernel::of_step(code);
    let zero = k.layer;
    let run = |numbers: Range<u32>, layer: Int<'c>| {
        for number in numbers {
            let operands = [k.args.into(), layer.into(), k.thread.into()];
            // Kernels are declared with these three parameters.
            k.code.b.build_call(kernels[number as usize], &operands, "").expect("a well-typed call");
            k.barrier();
            k.observe(number, layer);
            k.reset(number);
        }
    };
    let (c, plan) = (&k.code, k.code.plan);
    let blocks = plan.layer_kernels();
    run(0..blocks.start, zero);
    let layers = c.int(u64::from(plan.dims.layers));
    let groups: Vec<u64> = plan.layer_groups().into_iter().map(u64::from).collect();
    c.for_each("layer", zero, layers, 1, |layer| match plan.groups.len() {
        1 => run(blocks.clone(), layer),
        count => {
            let group = k.entry("layer_groups", &groups, layer);
            for number in 0..count as u32 {
                let is_of_group = c.cmp(IntPredicate::EQ, group, c.int(u64::from(number)));
                c.when(&format!("group{number}"), is_of_group, || run(plan.block_range(number), layer));
            }
        }
    });
    let wanted = k.field(field!(StepArgs, n_outputs));
    let any = k.code.cmp(IntPredicate::NE, wanted, zero);
    k.code.when("outputs", any, || run(blocks.end..kernels.len() as u32, zero));
    k.code.ret();
}
