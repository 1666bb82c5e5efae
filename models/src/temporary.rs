//! A file that appears when it is whole.
//!
//! In: a path, bytes. Out: the file. Invariant: nothing stands at the path, and nothing there is replaced, until
//! [`Temporary::finish`]; what is not finished is removed. Errors name the path, never the temporary one.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use qwenc_files::Staged;

use crate::error::Result;
use crate::files::io;

/// A file in the making.
pub(crate) struct Temporary {
    staged: Staged,
    /// Its path once it is whole.
    wanted: PathBuf,
}

impl Temporary {
    /// An empty file.
    pub fn create(out: &Path) -> Result<Temporary> {
        let staged = Staged::create(out).map_err(io(out, "create"))?;
        Ok(Temporary { staged, wanted: out.to_path_buf() })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.staged.file().write_all(bytes).map_err(io(&self.wanted, "write"))
    }

    /// Replaces the file's first bytes; nothing may be appended after that.
    pub fn write_first(&mut self, bytes: &[u8]) -> Result<()> {
        self.staged.file().seek(SeekFrom::Start(0)).map_err(io(&self.wanted, "seek in"))?;
        self.write(bytes)
    }

    /// Puts it in its place. No fsync: a crash that loses bytes leaves a payload whose hash is wrong, which every
    /// reader of a model.bin checks.
    pub fn finish(self) -> Result<()> {
        self.staged.finish().map_err(io(&self.wanted, "replace"))
    }
}
