//! Comments in printed IR: what the module is, and which kernel of the plan a function is.
//!
//! In: a module as LLVM prints it. Out: the same text with comment lines, for which the API of LLVM has no call. Invariant:
//! LLVM reads the same module from either.

use qwenc_plan::Plan;

use crate::cpu::Cpu;
use crate::emit::{kernel_symbol, MODEL_SYMBOL, STEP_SYMBOL};
use crate::isa::x86;

/// The text with a header, and with comments above the kernels, the step and the model's description.
pub(crate) fn annotate(ir: &str, plan: &Plan, cpu: &Cpu) -> String {
    let mut text = header(plan, cpu);
    let comments = comments(plan);
    for line in ir.lines() {
        if let Some((_, comment)) = symbol(line).and_then(|name| comments.iter().find(|(of, _)| of == name)) {
            text += comment;
        }
        text += line;
        text.push('\n');
    }
    text
}

/// Header of the text.
fn header(plan: &Plan, cpu: &Cpu) -> String {
    let features = [&[x86::BASELINE], cpu.features()].concat().join(", ");
    format!(
        "; The kernels of model {:?} for CPU {}, before LLVM's passes.\n; CPU features: {features}.\n\
         ; b0.NAME is a buffer of the plan, w0.NAME a packed tensor; LLVM numbers names that occur again.\n",
        plan.name,
        cpu.name(),
    )
}

/// The name that a line of IR begins to define.
fn symbol(line: &str) -> Option<&str> {
    let name = match line.strip_prefix("define ") {
        Some(rest) => rest.split_once('@')?.1,
        None => line.strip_prefix('@')?,
    };
    name.split(['(', ' ']).next()
}

/// Symbols, and the comments above their definitions.
fn comments(plan: &Plan) -> Vec<(String, String)> {
    let text = plan.to_string();
    let mut all: Vec<_> = plan
        .kernels()
        .map(|(number, kernel)| (kernel_symbol(number, kernel), of_kernel(&text, number)))
        .collect();
    let step =
        "; The step function, which every thread calls: kernels in order, with a barrier after each.\n";
    let model = "; The model's description, which the runtime reads: a qwenc_abi::ModelInfo.\n";
    all.extend([(STEP_SYMBOL, step), (MODEL_SYMBOL, model)].map(|(of, text)| (of.into(), text.into())));
    all
}

/// The kernel's line in the plan's text, then those of the buffers and segments that it names.
fn of_kernel(plan: &str, number: u32) -> String {
    let id = format!("k{number}");
    let lines = || plan.lines().map(str::trim_start);
    let Some(kernel) = lines().find(|line| line.split(' ').next() == Some(&id)) else { return String::new() };
    let named: Vec<&str> = kernel.split([' ', '=', ',']).collect();
    let mut text = format!("; {kernel}\n");
    for line in lines() {
        let is_named = line.split(' ').nth(1).is_some_and(|id| named.contains(&id));
        if is_named && ["buffer ", "segment "].iter().any(|kind| line.starts_with(kind)) {
            text += &format!(";   {line}\n");
        }
    }
    text
}
