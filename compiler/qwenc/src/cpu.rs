//! The CPU target: its names, and code plus weights to an executable.

use std::collections::BTreeSet;

use anyhow::Result;
use qwenc_abi::metadata::Metadata;
use qwenc_abi::Identity;
use qwenc_costs::{Machine, ASSUMED_CORES};
use qwenc_ir::Checked;
use qwenc_llvm::{emit_entry, Cpu, Entry};
use qwenc_models::Model;
use qwenc_plan::{Dictionaries, Plan};

use crate::args::{Compile, Emit};
use crate::job::{Job, Made};
use crate::predict::Prediction;
use crate::{metadata, package, progress, Misuse};

/// The name of the CPU at hand.
const NATIVE: &str = "native";

/// The CPU that was asked for.
pub fn chosen(args: &Compile) -> Result<Cpu> {
    let name = args.cpu.as_deref().unwrap_or(NATIVE);
    Ok(Cpu::named(name).map_err(|e| Misuse(format!("--cpu: {e}")))?)
}

/// Rates of that CPU: this machine with its own cores, any other with as many as such CPUs usually have.
pub fn machine(args: &Compile) -> Result<Machine> {
    let cpu = chosen(args)?;
    let native = args.cpu.as_deref().is_none_or(|name| name == NATIVE);
    let cores = if native { physical_cores() } else { ASSUMED_CORES };
    Ok(Machine::of_cpu(cpu.name(), cpu.features(), cores))
}

/// Physical cores of this machine, as far as this process may use them.
fn physical_cores() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    let siblings = |cpu: usize| {
        std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
            .ok()
    };
    // CPUs are numbered without gaps on nearly every machine; where not, fewer are counted.
    let cores: BTreeSet<String> = (0..).map_while(siblings).collect();
    let cores = if cores.is_empty() { allowed } else { allowed.min(cores.len()) };
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// Code for the CPU, and what of it was asked for.
pub fn generate(
    job: Job,
    args: &Compile,
    (model, dictionaries): (&Model, &Dictionaries),
    plan: &Checked<Plan>,
    predicted: &Prediction,
) -> Result<Made> {
    let cpu = chosen(args)?;
    let generating = progress::step("generating code");
    match args.emit {
        Emit::LlvmIr => return job.write_text(&qwenc_llvm::emit_ir(plan, &cpu)?),
        Emit::Asm => return job.write_text(&qwenc_llvm::emit_asm(plan, &cpu)?),
        Emit::Obj => return job.write_bytes(&qwenc_llvm::emit(plan, &cpu)?.object),
        _ => {}
    }
    let product = job.into_product()?;
    package::room(&product, model, plan)?;
    let (artifact, provenance) = package::with_provenance(model, || qwenc_llvm::emit(plan, &cpu));
    let artifact = artifact?;
    generating.finish_and_clear();
    let linking = progress::step("linking");
    let entry = match args.emit {
        Emit::Lib => Entry::Load,
        _ if args.no_serve => Entry::MainWithoutServe,
        _ => Entry::Main,
    };
    let entry = emit_entry(&Identity::unpacked(artifact.code_id), entry)?;
    let linked = product.link(&[&entry, &artifact.object], artifact.code_id)?;
    linking.finish_and_clear();
    let target = (cpu.name(), cpu.features());
    let about = Metadata {
        activations: Some(metadata::activations(plan)),
        ..metadata::of((model, provenance), plan, target, args.kv(), predicted.stated())
    };
    let weights_bytes = package::finish(linked, (model, dictionaries), plan, &about, args.place)?;
    Ok(Made::Binary { weights_bytes, target: cpu.name().to_string() })
}
