//! The module: kernels, step, description; then LLVM's passes and code generator.
//!
//! In: a checked plan and a CPU. Out: object bytes, or assembly or IR as text. Invariant: nothing
//! outside plan and CPU reaches the module, so its bytes depend on nothing else.

use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, RelocMode, Target, TargetMachine, TargetTriple};
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum};
use inkwell::values::{BasicMetadataValueEnum, BasicValue, FunctionValue};
use inkwell::{AddressSpace, OptimizationLevel};
use qwenc_abi::Identity;
use qwenc_formats::Operand;
use qwenc_ir::Checked;
use qwenc_plan::{Kernel as PlanKernel, Plan, SegmentId};
use sha2::{Digest, Sha256};

use crate::builder::Code;
use crate::comments::annotate;
use crate::cpu::Cpu;
use crate::isa::x86;
use crate::kernel::Kernel;
use crate::model_info::describe;
use crate::{adapters, attention, embed, linear, qkv, swiglu};
use crate::{schedule, step};

/// Compiled code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// A relocatable ELF object that defines the model's description.
    pub object: Vec<u8>,
    /// SHA-256 of `object`.
    pub code_id: [u8; 32],
}

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// LLVM refused something that this crate made: a bug here.
    #[error("LLVM: {what}: {message}")]
    Llvm {
        /// Which step.
        what: &'static str,
        /// LLVM's words.
        message: String,
    },
    /// A format that kernels for this CPU do not read.
    #[error("{segment} is in {format}, which code for {cpu} does not read; plan it as {}", format.source())]
    Format {
        /// The first such segment.
        segment: SegmentId,
        /// Operand format of that segment.
        format: Operand,
        /// Name as it was given.
        cpu: String,
    },
    /// A plan that another target was asked for.
    #[error("k{kernel}: planned with {found} bytes of scratch memory a row, expected {expected}; plan it for a CPU")]
    Scratch {
        /// Number of the kernel.
        kernel: u32,
        /// Bytes that kernels for CPUs need.
        expected: u64,
        /// Bytes in the plan.
        found: u64,
    },
}

/// The model's description.
pub(crate) const MODEL_SYMBOL: &str = "qwenc_model";
/// The step function.
pub(crate) const STEP_SYMBOL: &str = "qwenc_step";

/// The function of kernel `number` of the plan.
pub(crate) fn kernel_symbol(number: u32, kernel: &PlanKernel) -> String {
    format!("k{number}_{}", kernel.name())
}

/// State that all functions of a module share.
pub(crate) struct Unit<'c, 'a> {
    pub(crate) cx: &'c Context,
    pub(crate) module: &'a Module<'c>,
    pub(crate) cpu: &'a Cpu,
    pub(crate) plan: &'a Plan,
}

/// Compiles a plan.
pub fn emit(plan: &Checked<Plan>, cpu: &Cpu) -> Result<Artifact, EmitError> {
    let object = generate(plan, cpu, FileType::Object)?;
    let code_id = Sha256::digest(&object).into();
    Ok(Artifact { object, code_id })
}

/// The code as assembly.
pub fn emit_asm(plan: &Checked<Plan>, cpu: &Cpu) -> Result<String, EmitError> {
    let text = generate(plan, cpu, FileType::Assembly)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The LLVM IR as this crate writes it, before LLVM's passes, with comments that say what is what in the plan.
pub fn emit_ir(plan: &Checked<Plan>, cpu: &Cpu) -> Result<String, EmitError> {
    let cx = Context::create();
    let module = build(&cx, plan, cpu)?;
    Ok(annotate(&module.print_to_string().to_string(), plan, cpu))
}

/// Entry point into the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `int main(int, char **)`, of an executable.
    Main,
    /// The same of an executable without a server.
    MainWithoutServe,
    /// `void *qwen_load(void *options)`, of a library.
    Load,
}

/// A second object with the entry, which hands its arguments, the model and its identity to the runtime.
pub fn emit_entry(identity: &Identity, entry: Entry) -> Result<Vec<u8>, EmitError> {
    let cpu = Cpu::baseline();
    let cx = Context::create();
    let machine = machine(&cpu)?;
    let module = cx.create_module("entry");
    set_target(&module, &machine);
    let (pointer, i32) = (cx.ptr_type(AddressSpace::default()), cx.i32_type());
    let model = module.add_global(pointer, None, MODEL_SYMBOL);
    let ids = [identity.code_id, identity.weights_id].concat();
    let bytes = cx.const_string(&ids, false);
    let constant = module.add_global(bytes.get_type(), None, "qwenc_identity");
    constant.set_initializer(&bytes);
    constant.set_constant(true);
    let (name, callee, result, takes): (_, _, BasicTypeEnum, Vec<BasicMetadataTypeEnum>) = match entry {
        Entry::Main => ("main", "qwenc_main", i32.into(), vec![i32.into(), pointer.into()]),
        Entry::MainWithoutServe => {
            ("main", "qwenc_main_without_serve", i32.into(), vec![i32.into(), pointer.into()])
        }
        Entry::Load => ("qwen_load", "qwenc_load", pointer.into(), vec![pointer.into()]),
    };
    let constants: [BasicMetadataTypeEnum; 2] = [pointer.into(), pointer.into()];
    let passes = [&takes[..], &constants].concat();
    let run = module.add_function(callee, result.fn_type(&passes, false), None);
    let function = module.add_function(name, result.fn_type(&takes, false), None);
    let b = cx.create_builder();
    b.position_at_end(cx.append_basic_block(function, "entry"));
    let failed = |e: inkwell::builder::BuilderError| llvm("building the entry", e);
    let mut args: Vec<BasicMetadataValueEnum> =
        function.get_params().into_iter().map(BasicMetadataValueEnum::from).collect();
    args.extend([model, constant].map(|global| BasicMetadataValueEnum::from(global.as_pointer_value())));
    let code = b.build_call(run, &args, "").map_err(failed)?.try_as_basic_value().basic();
    b.build_return(code.as_ref().map(|c| c as &dyn BasicValue)).map_err(failed)?;
    compile(&module, &machine, FileType::Object)
}

fn llvm(what: &'static str, message: impl ToString) -> EmitError {
    EmitError::Llvm { what, message: message.to_string() }
}

fn machine(cpu: &Cpu) -> Result<TargetMachine, EmitError> {
    x86::initialize();
    let triple = TargetTriple::create(x86::TRIPLE);
    let target = Target::from_triple(&triple).map_err(|e| llvm("finding the target", e))?;
    let level = OptimizationLevel::Default;
    target
        .create_target_machine(
            &triple,
            x86::BASELINE,
            &cpu.llvm_features(),
            level,
            RelocMode::PIC,
            CodeModel::Default,
        )
        .ok_or_else(|| llvm("creating the target machine", x86::TRIPLE))
}

fn set_target(module: &Module, machine: &TargetMachine) {
    module.set_triple(&TargetTriple::create(x86::TRIPLE));
    module.set_data_layout(&machine.get_target_data().get_data_layout());
}

fn generate(plan: &Checked<Plan>, cpu: &Cpu, file: FileType) -> Result<Vec<u8>, EmitError> {
    let cx = Context::create();
    let module = build(&cx, plan, cpu)?;
    let machine = machine(cpu)?;
    let options = PassBuilderOptions::create();
    // Kernels are vectors already; the vectorisers would only rearrange their scalar edges.
    options.set_loop_vectorization(false);
    options.set_loop_slp_vectorization(false);
    module.run_passes("default<O2>", &machine, options).map_err(|e| llvm("optimising", e))?;
    compile(&module, &machine, file)
}

fn compile(module: &Module, machine: &TargetMachine, file: FileType) -> Result<Vec<u8>, EmitError> {
    let buffer = machine.write_to_memory_buffer(module, file).map_err(|e| llvm("generating code", e))?;
    Ok(buffer.as_slice().to_vec())
}

/// Whether kernels for the CPU read the plan's formats and linears have their scratch memory: a plan may be another target's.
fn check(plan: &Plan, cpu: &Cpu) -> Result<(), EmitError> {
    for (number, s) in (0..).zip(&plan.segments) {
        if !cpu.reads(s.format) {
            let (segment, cpu) = (SegmentId(number), cpu.name().to_string());
            return Err(EmitError::Format { segment, format: s.format, cpu });
        }
    }
    for (kernel, k) in plan.kernels() {
        let PlanKernel::Linear(l) = k else { continue };
        let expected = schedule::prepared_bytes(&schedule::shape(plan, l));
        let found = l.scratch.map_or(0, |b| plan.buffer(b).row_bytes);
        if found != expected {
            return Err(EmitError::Scratch { kernel, expected, found });
        }
    }
    Ok(())
}

/// The whole module, verified.
fn build<'c>(cx: &'c Context, plan: &Checked<Plan>, cpu: &Cpu) -> Result<Module<'c>, EmitError> {
    check(plan, cpu)?;
    let module = cx.create_module("model");
    set_target(&module, &machine(cpu)?);
    let unit = Unit { cx, module: &module, cpu, plan };
    let mut functions = Vec::new();
    for (i, kernel) in plan.kernels() {
        functions.push(emit_kernel(&unit, i, kernel));
    }
    let step = emit_step(&unit, &functions);
    describe(&unit, step)?;
    module.verify().map_err(|e| llvm("verifying the module", e))?;
    Ok(module)
}

fn code<'c, 'a>(unit: &Unit<'c, 'a>, function: FunctionValue<'c>) -> Code<'c, 'a> {
    for (key, value) in [("prefer-vector-width", "512"), ("min-legal-vector-width", "512")] {
        let attribute = unit.cx.create_string_attribute(key, value);
        function.add_attribute(AttributeLoc::Function, attribute);
    }
    let b = unit.cx.create_builder();
    Code { cx: unit.cx, module: unit.module, b, cpu: unit.cpu, plan: unit.plan, function }
}

/// Declares `void name(ptr args, i64 layer, i64 thread)`.
fn declare<'c>(unit: &Unit<'c, '_>, name: &str) -> FunctionValue<'c> {
    let cx = unit.cx;
    let (pointer, i64) = (cx.ptr_type(AddressSpace::default()), cx.i64_type());
    let ty = cx.void_type().fn_type(&[pointer.into(), i64.into(), i64.into()], false);
    unit.module.add_function(name, ty, Some(Linkage::Internal))
}

fn emit_kernel<'c>(unit: &Unit<'c, '_>, number: u32, kernel: &PlanKernel) -> FunctionValue<'c> {
    let function = declare(unit, &kernel_symbol(number, kernel));
    let code = code(unit, function);
    code.b.position_at_end(unit.cx.append_basic_block(function, "entry"));
    // Kernels stay functions of their own, so that a profile names them.
    let noinline = Attribute::get_named_enum_kind_id("noinline");
    function.add_attribute(AttributeLoc::Function, unit.cx.create_enum_attribute(noinline, 0));
    let k = Kernel::new(code, number);
    match kernel {
        PlanKernel::Embed(e) => embed::emit(&k, e),
        PlanKernel::Linear(l) => linear::emit(&k, l),
        PlanKernel::PrepareQkv(p) => qkv::emit(&k, p),
        PlanKernel::Attention(a) => attention::emit(&k, a),
        PlanKernel::SelectAdapter(s) => adapters::emit(&k, s),
        PlanKernel::Swiglu(s) => swiglu::emit(&k, s),
    }
    function
}

fn emit_step<'c>(unit: &Unit<'c, '_>, kernels: &[FunctionValue<'c>]) -> FunctionValue<'c> {
    let (pointer, i64) = (unit.cx.ptr_type(AddressSpace::default()), unit.cx.i64_type());
    let ty = unit.cx.void_type().fn_type(&[pointer.into(), i64.into()], false);
    let function = unit.module.add_function(STEP_SYMBOL, ty, Some(Linkage::Internal));
    step::emit_step(code(unit, function), kernels);
    function
}
