//! Models compiled by the real `qwenc`, each variant once per process.
//!
//! In: a model's name, a weight type, a CPU. Out: the path of an executable. Invariant: everything is
//! in a folder of this process below `target/tmp`; folders of ended processes are removed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::data;
use crate::program::{profile, qwenc, run};

/// A compilation: model, weight type, CPU.
type Variant = (String, String, String);
type Made = Mutex<HashMap<Variant, Arc<OnceLock<PathBuf>>>>;

/// Argument of `qwenc` for a model: `sample`, or the folder of a golden case.
pub fn input(model: &str) -> String {
    match model {
        "sample" => model.to_string(),
        case => data::folder(case).display().to_string(),
    }
}

/// An executable of `model` (`sample` or a golden case) for this machine; flags may follow the weight type.
pub fn executable(model: &str, quant: &str) -> PathBuf {
    executable_for(model, quant, "native")
}

/// An executable for a CPU.
pub fn executable_for(model: &str, quant: &str, cpu: &str) -> PathBuf {
    static MADE: OnceLock<Made> = OnceLock::new();
    let variant = (model.to_string(), quant.to_string(), cpu.to_string());
    let made = MADE.get_or_init(Made::default).lock().unwrap().entry(variant).or_default().clone();
    made.get_or_init(|| {
        let output = scratch().join(format!("{model}-{quant}-{cpu}").replace(' ', ""));
        let (input, path) = (input(model), output.to_str().unwrap());
        let quant: Vec<&str> = quant.split(' ').collect();
        run(&mut qwenc(&[&["compile", &input, "-o", path, "--cpu", cpu, "--quant"], &quant[..]].concat()))
            .ok();
        output
    })
    .clone()
}

/// This process's folder.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let all = profile().parent().unwrap().join("tmp");
        std::fs::create_dir_all(&all).unwrap();
        remove_stale(&all);
        let mine = all.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&mine).unwrap();
        mine
    })
}

const PREFIX: &str = "qwenc-tests-";

/// Statics are never dropped, so the next process cleans up.
fn remove_stale(all: &Path) {
    for entry in std::fs::read_dir(all).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let ended = |pid: &str| !Path::new("/proc").join(pid).exists();
        if name.strip_prefix(PREFIX).is_some_and(ended) {
            // Another process may be cleaning too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A new empty folder.
pub fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = scratch().join(format!("folder-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// Names in a folder, hidden ones included, sorted.
pub fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
