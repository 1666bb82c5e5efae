//! Whether the code keeps its own rules.
//!
//! In: the source tree, `cargo metadata`, the documents. Out: a list of what is untidy, each line with
//! what to do. Rules of the rewrite rules (unique names, each with its law in rules/README.md) are
//! tested where they live, in compiler/opt/src/tests.

mod arrows;
mod circles;
mod commands;
mod picture;
mod prose;
mod recipe;
mod reference;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace exists")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every file below `folder` with this extension, as paths from the root; build outputs and hidden
/// folders left out.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder is readable") {
            let path = entry.expect("an entry is readable").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let path = path.strip_prefix(root()).expect("it is below the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// Fails with all complaints at once.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The rows of the table with this header, as trimmed cells.
fn table(document: &str, header: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let mut lines = text.lines().skip_while(|l| !l.starts_with(header));
    assert!(lines.next().is_some(), "{document} has no table that starts with {header:?}");
    let rows = lines.skip(1).take_while(|l| l.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect()).collect()
}
