//! Weights to an image, and what is said of a finished executable or library.
//!
//! In: code's hash, a model and its plan. Out: the image to link. Invariant: the same for every target.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use qwenc_ir::Checked;
use qwenc_link::{Assets, Image, Product, Weights};
use qwenc_models::ModelFile;
use qwenc_plan::Plan;
use serde_json::Value;

use crate::args::WeightsPlace;
use crate::{progress, say};

impl WeightsPlace {
    /// As the linker calls it.
    pub fn link(self) -> Weights {
        match self {
            WeightsPlace::Embed => Weights::Embed,
            WeightsPlace::External => Weights::External,
        }
    }
}

/// Packs the weights for the code of this hash.
pub fn image(
    product: &Product,
    model: &ModelFile,
    plan: &Checked<Plan>,
    about: &Value,
    code_id: [u8; 32],
) -> Result<Image> {
    let about = about.to_string();
    let tokenizer = model.tokenizer_json().unwrap_or_default();
    let assets = Assets { tokenizer: tokenizer.as_bytes(), metadata: about.as_bytes() };
    let bar = progress::bytes("packing", plan.weights_bytes);
    let mut advance = |done| bar.set_position(done);
    let image = Image::write(&product.image_path(), plan, model, assets, code_id, &mut advance)?;
    bar.finish_and_clear();
    Ok(image)
}

/// Says what was made.
pub fn told(output: &Path, image: &Image, place: WeightsPlace, target: &str, started: Instant) {
    let place = if place == WeightsPlace::Embed { "embedded" } else { "beside it" };
    let (output, megabytes) = (output.display(), image.bytes as f64 / 1e6);
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{output}: {megabytes:.1} MB of weights {place}, {target} in {seconds:.1} s"));
}
