//! Files of a checkpoint folder, and the one place that opens files to read. In: paths. Out: text within a
//! limit, or mapped bytes.
//!
//! Invariant: only regular files are opened, nothing is read whole but text, and no more of that than the limit. What
//! a file means is for others: `config_reader.rs`, `side_files.rs`, `shards.rs`.

use std::io::Read;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::folder_problem::FolderProblem;

/// Largest config.json, tokenizer.json and the like, in bytes.
pub(crate) const MAX_TEXT: u64 = 64 << 20;

/// A file's bytes.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::Io { path: path.to_path_buf(), action, source }
}

/// The whole file, mapped.
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = qwenc_files::regular(path).map_err(io(path, "open"))?;
    // SAFETY: the map is read-only and private to this process's reading. As with every mapped file,
    // another process that truncates it meanwhile ends this one with SIGBUS; one that writes to it
    // changes values, which no invariant of memory safety depends on: all bit patterns are numbers.
    let map = unsafe { Mmap::map(&file) }.map_err(io(path, "map"))?;
    match is_lfs_pointer(&map) {
        true => Err(FolderProblem::LfsPointer { file: path.to_path_buf() }.into()),
        false => Ok(map),
    }
}

/// Whether a file's bytes are those that git-lfs leaves in the place of a large file.
pub(crate) fn is_lfs_pointer(file: &[u8]) -> bool {
    file.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// The text of a file that must be there.
pub(crate) fn text(path: &Path) -> Result<String> {
    let file = qwenc_files::regular(path).map_err(io(path, "open"))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(io(path, "read"))?;
    if is_lfs_pointer(&bytes) {
        return Err(FolderProblem::LfsPointer { file: path.to_path_buf() }.into());
    }
    let name = || path.display().to_string();
    if bytes.len() as u64 > MAX_TEXT {
        let found = path.metadata().map_or(MAX_TEXT + 1, |m| m.len());
        return Err(Error::TooLarge { file: name(), limit: MAX_TEXT, found });
    }
    String::from_utf8(bytes)
        .map_err(|e| Error::NotText { file: name(), offset: e.utf8_error().valid_up_to() })
}

/// The text of a file that may be absent.
pub(crate) fn text_or_none(path: &Path) -> Result<Option<String>> {
    match text(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}
