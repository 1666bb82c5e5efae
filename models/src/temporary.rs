//! A file that appears when it is whole.
//!
//! In: a path, bytes. Out: the file. Invariant: nothing stands at the path, and nothing there is replaced, until
//! [`Temporary::finish`]; what is not finished is removed.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::files::io;

/// The name that [`export`](crate::export()) writes under until the file is whole: the same within a process.
pub fn temporary_path(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// A file beside the wanted one, removed unless finished.
pub(crate) struct Temporary {
    file: File,
    path: PathBuf,
    /// Where it will be; what messages name.
    wanted: PathBuf,
    finished: bool,
}

impl Temporary {
    /// An empty file.
    pub fn create(out: &Path) -> Result<Temporary> {
        let path = temporary_path(out);
        let file = File::create(&path).map_err(io(out, "create"))?;
        Ok(Temporary { file, path, wanted: out.to_path_buf(), finished: false })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(io(&self.wanted, "write"))
    }

    /// Replaces the file's first bytes; nothing may be appended after that.
    pub fn write_first(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(io(&self.wanted, "seek in"))?;
        self.write(bytes)
    }

    /// Renames. No fsync: a crash that loses bytes leaves a payload whose hash is wrong, which every reader of
    /// a model.bin checks.
    pub fn finish(mut self) -> Result<()> {
        std::fs::rename(&self.path, &self.wanted).map_err(io(&self.wanted, "replace"))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the error that led here matters more.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
