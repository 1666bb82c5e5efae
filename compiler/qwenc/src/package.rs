//! Weights to an image.
//!
//! In: code's hash, a model and its plan. Out: the image to link. Invariant: the same for every target.

use std::borrow::Cow;

use anyhow::Result;
use qwenc_abi::metadata::Metadata;
use qwenc_ir::Checked;
use qwenc_link::{Assets, Form, Image, Linker, Product, Weights};
use qwenc_models::ModelFile;
use qwenc_plan::Plan;

use crate::args::{Compile, Emit, LinkerName, Target, WeightsPlace};
use crate::output::room;
use crate::{note, progress, text};

impl WeightsPlace {
    /// As the linker calls it.
    pub fn link(self) -> Weights {
        match self {
            WeightsPlace::Embed => Weights::Embed,
            WeightsPlace::External => Weights::External,
        }
    }
}

/// Form of the linked file, chosen by `--emit`, `--target` and `--dynamic`.
pub fn form(args: &Compile) -> Form {
    match (args.emit, args.target) {
        (Emit::Lib, _) => Form::Library,
        // A static program cannot load the driver of a GPU.
        (_, Target::Cuda) => Form::Dynamic,
        (_, Target::Cpu) if args.dynamic => Form::Dynamic,
        (_, Target::Cpu) => Form::Static,
    }
}

/// Linker chosen by `--linker`.
pub fn linker(args: &Compile) -> Linker {
    match args.linker {
        None => Linker::Any,
        Some(LinkerName::Wild) => Linker::Wild,
        Some(LinkerName::Cc) => Linker::Cc,
    }
}

/// Says why another linker than the first was needed.
pub fn note_linker(reason: Option<String>) {
    if let Some(reason) = reason {
        note(&format!("note: linked by the C compiler, since the linker inside qwenc failed: {reason}"));
    }
}

/// Packs the weights for the code of this hash.
pub fn image(
    product: &Product,
    model: &ModelFile,
    plan: &Checked<Plan>,
    about: &Metadata,
    code_id: [u8; 32],
) -> Result<Image> {
    let about = serde_json::to_vec(about)?;
    let tokenizer = model.tokenizer_json().map(tokenizer).transpose()?.unwrap_or_default();
    let assets = Assets { tokenizer: &tokenizer, metadata: &about };
    // Alignment, footer and what the linker makes beside the image.
    let beside = (16 << 20) + tokenizer.len() as u64 + assets.metadata.len() as u64;
    room(product.output(), plan.weights_bytes + beside)?;
    let bar = progress::bytes("packing", plan.weights_bytes);
    let mut advance = |done| bar.set_position(done);
    let image = Image::write(&product.image_path(), plan, model, assets, code_id, &mut advance);
    let image = image.map_err(|e| e.at(product.output()))?;
    bar.finish_and_clear();
    Ok(image)
}

/// In tables where it has a plain vocabulary, else as it is. What the executable could not read is refused here.
fn tokenizer(json: &str) -> Result<Cow<'_, [u8]>> {
    text::readable(json)?;
    Ok(qwenc_bpe::prepare(json.as_bytes()).map_or(Cow::Borrowed(json.as_bytes()), Cow::Owned))
}
