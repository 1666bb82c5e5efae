//! A linked program and its weights to the finished file.
//!
//! In: a linked program, a model and its plan. Out: the executable or library. Invariant: the same for every target.

use std::borrow::Cow;
use std::thread;

use anyhow::Result;
use qwenc_abi::metadata::Metadata;
use qwenc_ir::Checked;
use qwenc_link::{Content, Form, Linked, Linker, Product, Weights};
use qwenc_models::{Model, Provenance};
use qwenc_plan::{Dictionaries, Plan};

use crate::args::{Compile, Emit, LinkerName, Target, WeightsPlace};
use crate::{note, progress, text};

impl WeightsPlace {
    /// The linker's name for it.
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

/// Does `work` while a second thread hashes the files that the model was made from.
pub fn with_provenance<T>(model: &Model, work: impl FnOnce() -> T) -> (T, Provenance) {
    thread::scope(|scope| {
        let hashing = scope.spawn(|| model.provenance());
        let done = work();
        (done, hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Refuses to begin what the disk has no room for.
pub fn room(product: &Product, model: &Model, plan: &Plan) -> Result<()> {
    // Alignment, metadata, footer and what the linker makes before the image.
    let tokenizer = model.side_files().tokenizer_json.as_ref().map_or(0, String::len);
    Ok(qwenc_files::require(product.output(), plan.weights_bytes + tokenizer as u64 + (32 << 20))?)
}

/// Packs the weights behind or beside a linked program and finishes it. Gives the bytes of the weights image.
pub fn finish(
    linked: Linked,
    (model, dictionaries): (&Model, &Dictionaries),
    plan: &Checked<Plan>,
    about: &Metadata,
    place: WeightsPlace,
) -> Result<u64> {
    if let Some(reason) = linked.other_linker() {
        note(&format!("note: linked by the C compiler, since the linker inside qwenc failed: {reason}"));
    }
    let metadata = serde_json::to_vec(about)?;
    let tokenizer = model.side_files().tokenizer_json.as_deref().map(tokenizer).transpose()?;
    let tokenizer = tokenizer.unwrap_or_default();
    let content = Content { plan, source: model, dictionaries, tokenizer: &tokenizer, metadata: &metadata };
    let bar = progress::bytes("packing", plan.weights_bytes);
    let bytes = linked.finish(&content, place.link(), &mut |done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(bytes)
}

/// In tables where it has a plain vocabulary, else as it is. What the executable could not read is refused here.
fn tokenizer(json: &str) -> Result<Cow<'_, [u8]>> {
    text::readable(json)?;
    Ok(qwenc_bpe::prepare(json.as_bytes()).map_or(Cow::Borrowed(json.as_bytes()), Cow::Owned))
}
