//! The model that a command names: a model.bin, a folder, or the built-in sample.
//!
//! In: a path. Out: an open model.bin. Invariant: a folder is exported first, so that compiling it
//! gives the same executable as exporting and compiling.

use std::path::Path;

use anyhow::{bail, Context, Result};
use qwenc_models::{export, temporary_path, Checkpoint, Hints, ModelFile, Quant, Source};

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
fn expect_something(path: &Path) -> Result<()> {
    if !path.try_exists().unwrap_or(true) {
        let what =
            "a model.bin, the folder of a Hugging Face checkpoint (qwenc downloads nothing), a GGUF file, or `sample`";
        bail!("{}: no such file or folder; give {what}", path.display());
    }
    Ok(())
}

/// Opens a model for compiling, with warnings; whatever is no model.bin becomes one in `scratch`.
pub fn model(
    path: &Path,
    quant: Option<Quant>,
    hints: Hints,
    scratch: &Path,
) -> Result<(ModelFile, Vec<String>)> {
    let checkpoint = match path == Path::new(SAMPLE) {
        true => Checkpoint::sample(),
        false => {
            expect_something(path)?;
            match Source::open(path, hints)? {
                Source::Checkpoint(checkpoint) => *checkpoint,
                Source::ModelFile(_) if quant.is_some() => {
                    let what =
                        format!("--quant: {} is exported already; give a checkpoint folder", path.display());
                    return Err(Misuse(what).into());
                }
                Source::ModelFile(file) => {
                    warn(file.warnings());
                    let warnings = file.warnings().to_vec();
                    return Ok((*file, warnings));
                }
            }
        }
    };
    let file = scratch.join("model.bin");
    let warnings = write(&checkpoint, &file, quant)?.warnings;
    Ok((ModelFile::open(&file).context("reading back the exported model")?, warnings))
}

/// Exports with a progress bar, and for the command with warnings as they come.
pub fn write(checkpoint: &Checkpoint, to: &Path, quant: Option<Quant>) -> Result<qwenc_models::ExportReport> {
    interrupt::removes(temporary_path(to));
    let bar = progress::bytes("exporting", 0);
    let report = export(checkpoint, to, quant, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;
    warn(&report.warnings);
    Ok(report)
}

fn warn(warnings: &[String]) {
    for warning in warnings.iter().filter(|_| progress::is_shown()) {
        say(&format!("warning: {warning}"));
    }
}
