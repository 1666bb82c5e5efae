//! The sample model at every level of the compiler, line by line.
//!
//! In: the sample, in its own bf16 and as int8. Out: source graph, optimised graph, the explain report,
//! plan, the LLVM IR of every kernel and the CUDA C++, compared with the files below `snapshots/`. Each level is
//! also made twice, and graphs and plans parse back.
//!
//! `INSTA_UPDATE=always cargo test -p qwenc-tests --test snapshots` accepts what has changed.

use std::fs;
use std::path::Path;

use qwenc_costs::Machine;
use qwenc_cuda::Gpu;
use qwenc_ir::{verify, Checked, Graph};
use qwenc_llvm::{emit, emit_ir, Cpu};
use qwenc_models::{export, Checkpoint, ModelFile, Quant};
use qwenc_opt::{optimise, Limits, Optimised};
use qwenc_plan::{lower, Options, Plan};
use qwenc_target::{NoDevice, Target};

const BLESS: &str = "INSTA_UPDATE=always cargo test -p qwenc-tests --test snapshots";
const INT8: Option<Quant> = Some(Quant::I8 { group: 64 });

/// Compares with `snapshots/FOLDER/NAME.snap`.
fn check(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(Path::new("snapshots").join(folder));
    settings.set_description(format!("If a change is right, accept it with {BLESS}"));
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The name of a weight type in folder names.
fn folder(quant: Option<Quant>) -> &'static str {
    match quant {
        None => "bf16",
        Some(_) => "int8",
    }
}

fn source(quant: Option<Quant>) -> Checked<Graph> {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary file");
    export(&Checkpoint::sample(), file.path(), quant, &mut |_, _| ()).expect("the sample can be exported");
    let model = ModelFile::open(file.path()).expect("an exported model can be opened");
    verify(model.graph().expect("it has a graph")).expect("and the graph is a model")
}

fn optimised(quant: Option<Quant>) -> Optimised {
    let machine = Machine::cpu_default();
    optimise(&source(quant), &NoDevice, &machine, &Limits::default()).expect("the sample can be optimised")
}

fn plan_for(target: &dyn Target, quant: Option<Quant>) -> Checked<Plan> {
    lower(&optimised(quant).graph, target, &Options::default()).expect("the sample can be planned")
}

/// The plan for the oldest CPU, on which weights of bf16 are not compressed.
fn plan(quant: Option<Quant>) -> Checked<Plan> {
    plan_for(&Cpu::named("x86-64").expect("the CPU has a name"), quant)
}

fn ir(quant: Option<Quant>, cpu: &str) -> String {
    let cpu = Cpu::named(cpu).expect("the CPU has a name");
    emit_ir(&plan_for(&cpu, quant), &cpu).expect("the sample can be compiled")
}

/// Name and text of every function that the module defines.
fn functions(ir: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut rest = ir;
    while let Some(at) = rest.find("\ndefine ") {
        let text = &rest[at + 1..];
        let end = text.find("\n}\n").expect("a function ends") + 3;
        let name =
            text.split_once('@').and_then(|(_, n)| n.split_once('(')).expect("a function has a name").0;
        all.push((name.to_string(), text[..end].to_string()));
        rest = &text[end - 1..];
    }
    all
}

#[test]
fn source_graphs() {
    for quant in [None, INT8] {
        let graph = source(quant);
        let text = graph.to_string();
        assert_eq!(qwenc_ir::parse(&text).as_ref(), Ok(&*graph));
        assert_eq!(source(quant).to_string(), text);
        check(folder(quant), "graph", &text);
    }
}

#[test]
fn optimised_graphs() {
    for quant in [None, INT8] {
        let graph = optimised(quant).graph;
        let text = graph.to_string();
        assert_eq!(qwenc_ir::parse(&text).as_ref(), Ok(&*graph));
        assert_eq!(optimised(quant).graph.to_string(), text);
        check(folder(quant), "optimised", &text);
    }
}

#[test]
fn the_explain_report() {
    let text = optimised(None).report.to_string();
    assert_eq!(optimised(None).report.to_string(), text);
    check("bf16", "explain", &text);
}

#[test]
fn plans() {
    for quant in [None, INT8] {
        let plan = plan(quant);
        let text = plan.to_string();
        assert_eq!(qwenc_plan::parse(&text).as_ref(), Ok(&*plan));
        check(folder(quant), "plan", &text);
    }
    let v4 = Cpu::named("x86-64-v4").expect("the CPU has a name");
    let compressed = plan_for(&v4, None);
    assert_eq!(qwenc_plan::parse(&compressed.to_string()).as_ref(), Ok(&*compressed));
    check("bf16", "plan_bf12", &compressed.to_string());
}

/// Every kernel and the step that calls them, for a CPU with 512-bit vectors.
#[test]
fn kernels_of_bf16() {
    let text = ir(None, "x86-64-v4");
    assert_eq!(ir(None, "x86-64-v4"), text);
    let functions = functions(&text);
    let kernels = plan(None).kernels().count();
    assert!(functions.len() > kernels, "{} functions for {kernels} kernels", functions.len());
    let folder = "bf16/x86-64-v4";
    for (name, text) in &functions {
        check(folder, name, text);
    }
    for entry in fs::read_dir(Path::new("tests/snapshots").join(folder)).expect("the folder is readable") {
        let path = entry.expect("an entry is readable").path();
        let used = functions.iter().any(|(name, _)| path.file_stem().is_some_and(|s| s == name.as_str()));
        assert!(used, "{}: no such kernel any more; delete the file", path.display());
    }
}

/// The int8 dot product is another on each: instructions for it, 256-bit multiplications, or neither.
#[test]
fn the_int8_linear() {
    for cpu in ["icelake-server", "x86-64-v3", "x86-64"] {
        let all = functions(&ir(INT8, cpu));
        let (name, text) = all.iter().find(|(name, _)| name.ends_with("_linear_add")).expect("there is one");
        check(&format!("int8/{cpu}"), name, text);
    }
}

/// All CUDA C++ of the sample; of int8 what is its own: shapes, kernels and launches.
#[test]
fn cuda_sources() {
    for quant in [None, INT8] {
        let plan = plan_for(&Gpu, quant);
        let code = qwenc_cuda::emit(&plan).expect("the sample has CUDA kernels");
        assert_eq!(qwenc_cuda::emit(&plan).expect("and again"), code);
        let own = code.text.find("// Packed tensors").expect("they stand after the library");
        check(folder(quant), "cuda", if quant.is_none() { &code.text } else { &code.text[own..] });
    }
}

#[test]
fn object_files_are_deterministic() {
    let cpu = Cpu::named("x86-64-v4").expect("the CPU has a name");
    let plan = plan(INT8);
    let once = emit(&plan, &cpu).expect("the sample can be compiled");
    assert_eq!(emit(&plan, &cpu).expect("and again"), once);
}
