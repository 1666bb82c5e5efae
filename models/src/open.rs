//! Opens a path as a checkpoint: a Hugging Face folder, or a file of another program.
//!
//! In: a path, hints. Out: a [`Checkpoint`]. Invariant: what a path is, is known by its contents.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::folder;
use crate::import::{self, Hints};
use crate::tensor_check::Look;

impl Checkpoint {
    /// Opens a folder with config.json and safetensors files, or a file of another format than model.bin.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        Checkpoint::open_with(path, Hints::default())
    }

    /// The same; `hints` say what some old files do not.
    pub fn open_with(path: &Path, hints: Hints) -> Result<Checkpoint> {
        Checkpoint::look(path, hints, Look::Values)
    }

    /// The same; with [`Look::Headers`] no tensor data is read, nor checked.
    pub(crate) fn look(path: &Path, hints: Hints, look: Look) -> Result<Checkpoint> {
        match path.is_dir() {
            true => Checkpoint::open_folder(&folder::resolve(path)?, look),
            false => import::open(path, hints, look),
        }
    }
}
