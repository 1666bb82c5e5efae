//! Reasons to refuse a folder as a checkpoint. In: facts about files. Out: messages.
//!
//! Invariant: as in `error.rs`, each says what was expected, what was found, and what to do.

use std::path::PathBuf;

/// Reasons to refuse a folder as a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum FolderProblem {
    /// A pointer of git-lfs in place of a file.
    #[error("{}: this is a git-lfs pointer, not the weights or text that it stands for: run `git lfs pull` in {}", file.display(), qwenc_files::folder_of(file).display())]
    LfsPointer {
        /// The file.
        file: PathBuf,
    },
    /// A folder without a config.json.
    #[error("{}: expected config.json, found none; {hint}", path.display())]
    NoConfig {
        /// The folder.
        path: PathBuf,
        /// Advice: paths that would be accepted.
        hint: String,
    },
    /// A folder of a Hugging Face cache without a snapshot to take.
    #[error("{}: expected {expected}, found {found}; give the folder of a snapshot", path.display())]
    Snapshot {
        /// The folder.
        path: PathBuf,
        /// File or folder that would decide which snapshot is taken.
        expected: String,
        /// The snapshots that there are.
        found: String,
    },
}
