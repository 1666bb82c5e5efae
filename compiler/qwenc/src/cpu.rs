//! The CPU target: its names, and code plus weights to an executable.

use anyhow::Result;
use qwenc_ir::Checked;
use qwenc_link::{Assets, Executable, Image, Weights};
use qwenc_llvm::{emit_entry, Artifact, Cpu};
use qwenc_models::ModelFile;
use qwenc_plan::Plan;

use crate::args::WeightsPlace;
use crate::{metadata, progress, Misuse};

/// The CPU of this name.
pub fn named(name: &str) -> Result<Cpu> {
    Ok(Cpu::named(name).map_err(|e| Misuse(format!("--cpu: {e}")))?)
}

/// Packs weights, links, and says what was made.
pub fn link(
    executable: Executable,
    artifact: &Artifact,
    model: &ModelFile,
    plan: &Checked<Plan>,
    cpu: &Cpu,
    place: WeightsPlace,
) -> Result<String> {
    let about = metadata::of(model, plan, cpu.name(), cpu.features()).to_string();
    let tokenizer = model.tokenizer_json().unwrap_or_default();
    let assets = Assets { tokenizer: tokenizer.as_bytes(), metadata: about.as_bytes() };
    let bar = progress::bytes("packing", plan.weights_bytes);
    let mut advance = |done| bar.set_position(done);
    let image = Image::write(&executable.image_path(), plan, model, assets, artifact.code_id, &mut advance)?;
    bar.finish_and_clear();
    let linking = progress::step("linking");
    let entry = emit_entry(&image.identity)?;
    let weights = match place {
        WeightsPlace::Embed => Weights::Embed,
        WeightsPlace::External => Weights::External,
    };
    executable.finish(&[&entry, &artifact.object], &image, weights)?;
    linking.finish_and_clear();
    let place = if weights == Weights::Embed { "embedded" } else { "beside it" };
    Ok(format!("{:.1} MB of weights {place}", image.bytes as f64 / 1e6))
}
