//! The model that a command names: a model.bin, a folder, or the built-in sample.
//!
//! In: a path. Out: an open model.bin. Invariant: a folder is exported first, so that compiling it
//! gives the same executable as exporting and compiling.

use std::path::Path;

use anyhow::{bail, Context, Result};
use qwenc_models::{
    export, temporary_path, Checkpoint, ExportReport, Hints, ModelFile, Progress, Quant, Source,
};

use crate::args::Changes;
use crate::Misuse;
use crate::{interrupt, progress, say};

/// The word for the built-in model. A folder of that name is `./sample`.
pub const SAMPLE: &str = "sample";

/// Opens a checkpoint folder, a file of another program, or the sample.
pub fn checkpoint(path: &Path, hints: Hints) -> Result<Checkpoint> {
    if path == Path::new(SAMPLE) {
        return Ok(Checkpoint::sample());
    }
    expect_something(path)?;
    Ok(Checkpoint::open_with(path, hints)?)
}

/// People who know tools that download models type a model's name here.
pub fn expect_something(path: &Path) -> Result<()> {
    if !path.try_exists().unwrap_or(true) {
        let what =
            "a model.bin, the folder of a Hugging Face checkpoint (qwenc downloads nothing), a GGUF file, or `sample`";
        bail!("{}: no such file or folder; give {what}", path.display());
    }
    Ok(())
}

/// Opens a model to be read as it is.
pub fn opened(path: &Path, hints: Hints) -> Result<Source> {
    if path == Path::new(SAMPLE) {
        return Ok(Source::Checkpoint(Box::new(Checkpoint::sample())));
    }
    expect_something(path)?;
    Ok(Source::open(path, hints)?)
}

/// Opens a model for compiling, printing warnings; whatever is no model.bin becomes one in `scratch`.
pub fn model(
    path: &Path,
    (quant, changes): (Option<Quant>, &Changes),
    hints: Hints,
    scratch: &Path,
) -> Result<ModelFile> {
    let rope = changes.rope()?;
    let exported = |flag: &str| {
        let what = format!("{flag}: {} is exported already; give a checkpoint folder", path.display());
        Err(Misuse(what).into())
    };
    let checkpoint = match opened(path, hints)? {
        Source::Checkpoint(checkpoint) => *checkpoint,
        Source::ModelFile(_) if quant.is_some() => return exported("--quant"),
        Source::ModelFile(_) if !changes.lora.is_empty() => return exported("--lora"),
        Source::ModelFile(file) => {
            let file = if rope.is_empty() { *file } else { file.with_rope(&rope)? };
            warn(file.warnings());
            return Ok(file);
        }
    };
    let checkpoint = changed(checkpoint, changes)?;
    let file = scratch.join("model.bin");
    write(&checkpoint, &file, quant)?;
    ModelFile::open(&file).context("reading back the exported model")
}

/// With RoPE and adapters as chosen; says what was merged.
pub fn changed(mut checkpoint: Checkpoint, changes: &Changes) -> Result<Checkpoint> {
    let rope = changes.rope()?;
    for adapter in changes.adapters() {
        say(&checkpoint.merge(&adapter)?.to_string());
    }
    if rope.is_empty() {
        return Ok(checkpoint);
    }
    Ok(checkpoint.with_rope(&rope)?)
}

/// Exports with a progress bar, printing warnings.
pub fn write(checkpoint: &Checkpoint, to: &Path, quant: Option<Quant>) -> Result<ExportReport> {
    shown(to, &mut |progress| export(checkpoint, to, quant, progress))
}

/// The same without rounding anything.
pub fn migrate(checkpoint: &Checkpoint, to: &Path) -> Result<ExportReport> {
    shown(to, &mut |progress| qwenc_models::migrate(checkpoint, to, progress))
}

type Work<'a> = &'a mut dyn FnMut(Progress) -> Result<ExportReport, qwenc_models::Error>;

fn shown(to: &Path, work: Work) -> Result<ExportReport> {
    interrupt::removes(temporary_path(to));
    let bar = progress::bytes("exporting", 0);
    let report = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;
    warn(&report.warnings);
    Ok(report)
}

pub fn warn(warnings: &[String]) {
    for warning in warnings {
        say(&format!("warning: {warning}"));
    }
}
