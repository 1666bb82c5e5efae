//! The CPU target: its names, and code plus weights to an executable.

use std::collections::BTreeSet;

use anyhow::Result;
use qwenc_ir::Checked;
use qwenc_link::{Assets, Executable, Image, Weights};
use qwenc_llvm::{emit_entry, Artifact, Cpu};
use qwenc_models::ModelFile;
use qwenc_opt::{Machine, ASSUMED_CORES};
use qwenc_plan::Plan;

use crate::args::{Compile, WeightsPlace};
use crate::predict::Prediction;
use crate::{metadata, progress, Misuse};

/// The CPU of this name.
pub fn named(name: &str) -> Result<Cpu> {
    Ok(Cpu::named(name).map_err(|e| Misuse(format!("--cpu: {e}")))?)
}

/// What the CPU of this name is good at: this machine with its own cores, any other with as many as such CPUs
/// usually have.
pub fn machine(name: &str) -> Result<Machine> {
    let cpu = named(name)?;
    let cores = if name == "native" { physical_cores() } else { ASSUMED_CORES };
    Ok(Machine::of_cpu(cpu.name(), cpu.features(), cores))
}

/// Of this machine, as far as this process may use them.
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

/// Packs weights, links, and says what was made.
pub fn link(
    executable: Executable,
    artifact: &Artifact,
    model: &ModelFile,
    plan: &Checked<Plan>,
    cpu: &Cpu,
    args: &Compile,
    predicted: &Prediction,
) -> Result<String> {
    let about = metadata::of(model, plan, cpu.name(), cpu.features(), args.kv_type, predicted).to_string();
    let tokenizer = model.tokenizer_json().unwrap_or_default();
    let assets = Assets { tokenizer: tokenizer.as_bytes(), metadata: about.as_bytes() };
    let bar = progress::bytes("packing", plan.weights_bytes);
    let mut advance = |done| bar.set_position(done);
    let image = Image::write(&executable.image_path(), plan, model, assets, artifact.code_id, &mut advance)?;
    bar.finish_and_clear();
    let linking = progress::step("linking");
    let entry = emit_entry(&image.identity)?;
    let weights = match args.place {
        WeightsPlace::Embed => Weights::Embed,
        WeightsPlace::External => Weights::External,
    };
    executable.finish(&[&entry, &artifact.object], &image, weights)?;
    linking.finish_and_clear();
    let place = if weights == Weights::Embed { "embedded" } else { "beside it" };
    Ok(format!("{:.1} MB of weights {place}", image.bytes as f64 / 1e6))
}
