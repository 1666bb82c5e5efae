//! Mixtures of formats, formats that are read as others, and those without a decoder in the device code.

use qwenc_formats::DType;
use qwenc_llvm::Cpu;
use qwenc_plan::{lower, Activations, Options};

use crate::{Case, I4, I8};
use qwenc_testing::shapes::{graph, mixed, ODD, ODDER};

/// Rows of two formats in one matrix, gate and up that cannot be paired, layers of two kinds.
#[test]
fn weights_of_several_formats() {
    for shape in [ODD, ODDER] {
        for (dtype, other, tolerance) in
            [(DType::Bf16, DType::F32, 1e-7), (I8, I4, 1e-3), (I4, DType::Bf16, 1e-3)]
        {
            let case = Case { dtype, activations: Activations::Default, tolerance };
            case.check_graph(&mixed(shape, dtype, other));
        }
    }
}

/// Another target, whose plans the device code cannot run.
fn cpu() -> Cpu {
    Cpu::named("x86-64-v3").unwrap()
}

#[test]
fn bf16_in_12_bits_is_refused() {
    let plan = lower(&graph(ODD, DType::Bf16), &cpu(), &Options::default()).unwrap();
    let e = qwenc_cuda::emit(&plan).err().unwrap();
    assert_eq!(e.to_string(), "w0 is in bf12, which the CUDA target does not read; plan it as bf16");
}

#[test]
fn f16_is_read_as_f32() {
    let plan = lower(&graph(ODD, DType::F16), &cpu(), &Options::default()).unwrap();
    let e = qwenc_cuda::emit(&plan).err().unwrap();
    assert_eq!(e.to_string(), "w0 is in f16, which the CUDA target does not read; plan it as f32");
    Case { dtype: DType::F16, activations: Activations::Default, tolerance: 1e-7 }.check(ODD);
}
