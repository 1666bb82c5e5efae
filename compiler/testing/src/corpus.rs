//! Tests as text files: one file is one test.
//!
//! In: a folder of folders of files, each of which has a command in its first line, an input, `----`, and the expected output; a
//! function that runs commands. Out: a failure that shows all differences at once. Invariant: with `INSTA_UPDATE=always` files
//! are rewritten with what was found, else nothing is written.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of text tests.
pub struct Corpus {
    folder: PathBuf,
    crate_name: &'static str,
}

impl Corpus {
    /// `tests/corpus` of the crate with this name and `CARGO_MANIFEST_DIR`.
    pub fn new(crate_name: &'static str, crate_folder: &str) -> Corpus {
        Corpus { folder: Path::new(crate_folder).join("tests/corpus"), crate_name }
    }

    /// All files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let list = |dir: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(dir).expect("a corpus folder is readable");
            entries.map(|e| e.expect("an entry is readable").path()).collect()
        };
        let folders = list(&self.folder).into_iter().filter(|p| p.is_dir());
        let mut all: Vec<PathBuf> = folders.flat_map(|folder| list(&folder)).collect();
        all.sort();
        all
    }

    /// Runs every file, of which there must be at least `fewest`. `run` gets the command line and the input.
    pub fn check(&self, fewest: usize, run: impl Fn(&str, &str) -> String) {
        let blessing = std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always");
        let files = self.files();
        assert!(files.len() >= fewest, "only {} files: is the corpus whole?", files.len());
        let mut failures = Vec::new();
        for path in files {
            let text = fs::read_to_string(&path).expect("a corpus file is readable");
            let (command, rest) = text.split_once('\n').expect("the first line is the command");
            let (input, expected) = rest.split_once("----\n").unwrap_or((rest, ""));
            let found = run(command, input);
            if found == expected {
                continue;
            }
            if blessing {
                fs::write(&path, format!("{command}\n{input}----\n{found}")).expect("the file is writable");
            } else {
                failures.push(format!("{}\nexpected:\n{expected}\nfound:\n{found}", path.display()));
            }
        }
        let all = failures.join("\n");
        let bless = format!("INSTA_UPDATE=always cargo test -p {} --test corpus", self.crate_name);
        assert!(failures.is_empty(), "{all}\nIf this is right, accept it with\n    {bless}\n");
    }
}
