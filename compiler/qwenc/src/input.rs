//! The model that a command names: a model.bin, a folder, or the built-in sample.
//!
//! In: a path. Out: an open model.bin. Invariant: a folder is exported first, so that compiling it
//! gives the same executable as exporting and compiling.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use qwenc_formats::DType;
use qwenc_models::{
    export, exported_size, Checkpoint, ExportReport, Hints, ModelFile, Progress, Quant, Source,
};

use crate::args::Changes;
use crate::output::room;
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
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(listed).ok()?.flatten();
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

/// Opens a model for compiling, with warnings; whatever is no model.bin becomes one in `scratch`, on the way to
/// `output`, for which its weights may be packed too.
pub fn model(
    path: &Path,
    (quant, changes): (Option<Quant>, &Changes),
    hints: Hints,
    (scratch, output, is_packed): (&Path, &Path, bool),
) -> Result<(ModelFile, Vec<String>)> {
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
            let warnings = file.warnings().to_vec();
            return Ok((file, warnings));
        }
    };
    let checkpoint = changed(checkpoint, changes)?;
    let (bytes, types) = exported_size(&checkpoint, quant)?;
    // The model.bin on the way and the weights image, which holds bf16 in at least 12 of its 16 bits.
    let image = bytes.saturating_sub(types.bytes_in(DType::Bf16) / 4);
    room(output, if is_packed { bytes + image } else { bytes })?;
    let file = scratch.join("model.bin");
    let warnings = write(&checkpoint, &file, quant).map_err(|e| at(e, &file, output))?.warnings;
    let model = ModelFile::open(&file).map_err(|e| at(e.into(), &file, output));
    Ok((model.context("reading back the exported model")?, warnings))
}

/// An error about the file on the way to `output`, told as one about `output`.
fn at(error: anyhow::Error, file: &Path, output: &Path) -> anyhow::Error {
    match error.downcast() {
        Ok(qwenc_models::Error::Io { path, action, source }) if path == file => {
            qwenc_models::Error::Io { path: output.to_path_buf(), action, source }.into()
        }
        Ok(other) => other.into(),
        Err(other) => other,
    }
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
