//! Outputs of commands.
//!
//! In: the paths of `-o` and of the model. Out: the path to write to. Invariant: an input, a folder or
//! a device is never replaced; what a link points to is replaced, not the link.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::Misuse;

/// A place to write to.
#[derive(Clone, Debug)]
pub enum Output {
    /// A file, which appears when it is whole.
    File(PathBuf),
    /// A pipe or a device, which takes bytes as they come.
    Stream(PathBuf),
}

impl Output {
    /// Checks `path` against what stands there and against all that is read: the model, adapters, a vocabulary.
    pub fn new(path: &Path, inputs: &[PathBuf]) -> Result<Output> {
        let shown = path.display();
        if path.is_dir() {
            bail!("{shown}: expected a path for a file, found a folder; give another -o");
        }
        let folder = qwenc_files::folder_of(path);
        if !folder.is_dir() {
            bail!("{shown}: the folder {} does not exist; create it, or give another -o", folder.display());
        }
        if path.metadata().is_ok_and(|m| !m.is_file()) {
            return Ok(Output::Stream(path.to_path_buf()));
        }
        if inputs.iter().any(|input| replaces_input(path, folder, input)) {
            return Err(Misuse(format!("{shown} is the input; give another -o")).into());
        }
        let target =
            qwenc_files::link_target(path).with_context(|| format!("{shown}: following the link"))?;
        Ok(Output::File(target))
    }

    /// The path of a file; a model or an executable cannot be a stream.
    pub fn file(self) -> Result<PathBuf> {
        match self {
            Output::File(path) => Ok(path),
            Output::Stream(path) => {
                bail!("{}: expected a path for a file, found a device; give another -o", path.display())
            }
        }
    }
}

/// Whether `path` is the input, or a file of a folder that might be read.
fn replaces_input(path: &Path, folder: &Path, input: &Path) -> bool {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let read = ["json", "safetensors", "jinja"];
    let is_read = path.extension().is_some_and(|e| read.iter().any(|r| e == *r));
    same(path, input) || (is_read && same(folder, input))
}
