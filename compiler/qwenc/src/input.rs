//! The model that a command names: a model.bin, a checkpoint, or the built-in sample.
//!
//! In: a path, changes that flags ask for. Out: the opened model. Invariant: compiling a checkpoint packs the same weights as
//! exporting it and compiling the model.bin.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use qwenc_models::{export, Checkpoint, ExportReport, Hints, Model, Progress, Quant, Source};

use crate::args::Changes;
use crate::Misuse;
use crate::{note, progress};

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
        match near(path) {
            None => bail!("{}: no such file or folder; give {what}", path.display()),
            Some(near) => {
                bail!("{}: no such file or folder; did you mean {}?", path.display(), near.display())
            }
        }
    }
    Ok(())
}

/// The entry of the same folder whose name differs least, if by no more than a third of its letters.
fn near(path: &Path) -> Option<PathBuf> {
    let (name, folder) = (path.file_name()?.to_string_lossy().to_lowercase(), path.parent()?);
    let entries = std::fs::read_dir(qwenc_files::folder_of(path)).ok()?.flatten();
    let names = entries.map(|e| e.file_name()).filter(|n| !n.to_string_lossy().starts_with('.'));
    let far = |n: &OsString| edits(&name, &n.to_string_lossy().to_lowercase());
    let (distance, nearest) = names.map(|n| (far(&n), n)).min()?;
    (distance <= name.chars().count() / 3).then(|| folder.join(nearest))
}

/// Letters to insert, remove or replace to make one name of the other.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

/// Opens a model to be read as it is.
pub fn opened(path: &Path, hints: Hints) -> Result<Source> {
    if path == Path::new(SAMPLE) {
        return Ok(Source::Checkpoint(Box::new(Checkpoint::sample())));
    }
    expect_something(path)?;
    Ok(Source::open(path, hints)?)
}

/// Opens a model for compiling; the command prints its warnings.
pub fn model(path: &Path, (quant, changes): (Option<Quant>, &Changes), hints: Hints) -> Result<Model> {
    let rope = changes.rope()?;
    let exported = |flag: &str| {
        let what = format!("{flag}: {} is exported already; give a checkpoint folder", path.display());
        Err(Misuse(what).into())
    };
    let model = match opened(path, hints)? {
        Source::Checkpoint(checkpoint) => Model::of_checkpoint(changed(*checkpoint, changes)?, quant)?,
        Source::ModelFile(_) if quant.is_some() => return exported("--quant"),
        Source::ModelFile(_) if !changes.lora.is_empty() => return exported("--lora"),
        Source::ModelFile(file) if rope.is_empty() => Model::of_file(*file),
        Source::ModelFile(file) => Model::of_file(file.with_rope(&rope)?),
    };
    warn(model.warnings());
    Ok(model)
}

/// With RoPE and adapters as chosen; the command says what was merged.
pub fn changed(mut checkpoint: Checkpoint, changes: &Changes) -> Result<Checkpoint> {
    let rope = changes.rope()?;
    for adapter in changes.adapters() {
        note(&checkpoint.merge(&adapter)?.to_string());
    }
    if rope.is_empty() {
        return Ok(checkpoint);
    }
    Ok(checkpoint.with_rope(&rope)?)
}

/// Exports with a progress bar, and for the command with warnings as they come.
pub fn write(checkpoint: &Checkpoint, to: &Path, quant: Option<Quant>) -> Result<ExportReport> {
    shown(&mut |progress| export(checkpoint, to, quant, progress))
}

/// The same without rounding anything.
pub fn migrate(checkpoint: &Checkpoint, to: &Path) -> Result<ExportReport> {
    shown(&mut |progress| qwenc_models::migrate(checkpoint, to, progress))
}

type Work<'a> = &'a mut dyn FnMut(Progress) -> Result<ExportReport, qwenc_models::Error>;

fn shown(work: Work) -> Result<ExportReport> {
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

/// For the command.
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        note(&format!("warning: {warning}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_right_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["model.bin", "Qwen3-0.6B", "other.gguf"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let near = |name: &str| near(&folder.path().join(name)).map(|p| p.file_name().unwrap().to_owned());
        assert_eq!(near("modle.bin"), Some("model.bin".into()));
        assert_eq!(near("qwen3-0.6b"), Some("Qwen3-0.6B".into()));
        assert_eq!(near("something-else.safetensors"), None);
        assert_eq!((edits("", "abc"), edits("kitten", "sitting"), edits("a", "a")), (3, 3, 0));
        let said = expect_something(&folder.path().join("modle.bin")).unwrap_err().to_string();
        assert!(
            said.contains("no such file or folder; did you mean ") && said.ends_with("model.bin?"),
            "{said}"
        );
    }
}
