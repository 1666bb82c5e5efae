//! The folder of a checkpoint, found from what a person names.
//!
//! In: a folder. Out: the one with config.json: the folder itself, or the snapshot of a Hugging Face cache. Invariant:
//! no choice is made among several; they are named.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::files;
use crate::folder_problem::FolderProblem;

const CONFIG: &str = "config.json";
/// The folder of a cached model that has a folder for each of its versions.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Most names that a message lists.
const LISTED: usize = 8;

/// The checkpoint that `folder` is or, as a folder of a Hugging Face cache (`models--Qwen--Qwen3-0.6B`), holds.
pub(crate) fn resolve(folder: &Path) -> Result<PathBuf> {
    let snapshots = folder.join(SNAPSHOTS);
    if folder.join(CONFIG).symlink_metadata().is_ok() || !snapshots.is_dir() {
        return Ok(folder.to_path_buf());
    }
    let all = names(&snapshots, Path::is_dir);
    let wrong = |expected: String| FolderProblem::Snapshot {
        path: folder.to_path_buf(),
        expected,
        found: listed(&all.iter().map(|name| format!("{SNAPSHOTS}/{name}")).collect::<Vec<_>>()),
    };
    let main = files::text_or_none(&folder.join("refs/main"))?;
    match (main.as_deref().map(str::trim), &all[..]) {
        (Some(main), _) if all.iter().any(|name| name == main) => Ok(snapshots.join(main)),
        (Some(main), _) => Err(wrong(format!("{SNAPSHOTS}/{main}, which refs/main names")).into()),
        (None, [only]) => Ok(snapshots.join(only)),
        (None, _) => Err(wrong("refs/main, or one snapshot".to_string()).into()),
    }
}

/// The names in a folder that look like models, for a message about a folder that is none.
pub(crate) fn models_in(folder: &Path) -> String {
    let is_model = |path: &Path| {
        let file = path.extension().is_some_and(|e| e == "gguf") || path.ends_with("model.bin");
        (file && path.is_file()) || path.join(CONFIG).exists() || path.join(SNAPSHOTS).is_dir()
    };
    let found = names(folder, is_model);
    match found.is_empty() {
        true => "give the folder of a Hugging Face checkpoint, or a model's file".to_string(),
        false => format!("it holds {}: give one of these", listed(&found)),
    }
}

/// Names of entries, in order.
fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| wanted(&entry.path()));
    let mut all: Vec<String> = wanted.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

fn listed(names: &[String]) -> String {
    match names.len() {
        0 => "none".to_string(),
        n if n > LISTED => format!("{} and {} more", names[..LISTED].join(", "), n - LISTED),
        _ => names.join(", "),
    }
}
