//! The name of a model, as people know it.
//!
//! In: a text that a file states, or a folder. Out: the name, or none. Invariant: a name is one line of at most
//! [`LONGEST`] bytes without control characters, whatever file it came from.

use std::path::Path;

use crate::folder::SNAPSHOTS;

/// Longest name, in bytes.
const LONGEST: usize = 200;
/// Begins the name of a model's folder in a Hugging Face cache; each `/` of the model's name is `--` there.
const CACHED: &str = "models--";

/// The name that a text is, if it can be one.
pub(crate) fn stated(text: &str) -> Option<String> {
    let name = text.trim();
    let is_name = !name.is_empty() && name.len() <= LONGEST && !name.contains(char::is_control);
    is_name.then(|| name.to_string())
}

/// The name of a checkpoint's folder: `ORG/NAME` in a Hugging Face cache, else the folder's own. Hidden and temporary
/// folders, whose names begin with a dot, name no model.
pub(crate) fn of_folder(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let snapshots = folder.parent().filter(|parent| parent.ends_with(SNAPSHOTS));
    let cached = snapshots.and_then(Path::parent).and_then(own_name).and_then(|own| own.strip_prefix(CACHED));
    let own = own_name(&folder)?;
    match cached.or(own.strip_prefix(CACHED)) {
        Some(name) => stated(&name.replace("--", "/")),
        None if own.starts_with('.') => None,
        None => stated(own),
    }
}

fn own_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_line() {
        let long = "x".repeat(LONGEST + 1);
        for (text, name) in [
            ("Qwen3 0.6B", Some("Qwen3 0.6B")),
            (" padded\n", Some("padded")),
            ("", None),
            (" ", None),
            ("two\nlines", None),
            ("\u{1b}[31mred", None),
            (&long[1..], Some(&long[1..])),
            (long.as_str(), None),
        ] {
            assert_eq!(stated(text).as_deref(), name, "{text:?}");
        }
    }

    #[test]
    fn folders_name_models() {
        let root = tempfile::tempdir().unwrap();
        for (folder, name) in [
            ("Qwen3-0.6B", Some("Qwen3-0.6B")),
            ("models--Qwen--Qwen3-0.6B/snapshots/c1899de2", Some("Qwen/Qwen3-0.6B")),
            ("models--gpt2", Some("gpt2")),
            ("other/snapshots/best", Some("best")),
            (".hidden", None),
        ] {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            assert_eq!(of_folder(&folder).as_deref(), name, "{}", folder.display());
            // However its path is written.
            std::fs::create_dir(folder.join("below")).unwrap();
            assert_eq!(of_folder(&folder.join("below/..")).as_deref(), name, "{}", folder.display());
        }
        assert_eq!(of_folder(&root.path().join("absent")), None);
    }
}
