//! The key of an executable in the cache: the same for the same model, flags, compiler and CPU.
//!
//! In: the flags of a compilation. Out: a hash. Invariant: weights are not read: of each file of the model the path, size,
//! inode, time of its last change and first bytes are hashed, so that a start takes milliseconds whatever the model's size.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use sha2::{Digest, Sha256};

use crate::args::{inputs, Compile, Target};
use crate::input::{self, SAMPLE};

/// Bytes of each file that are hashed: headers of models begin there, and configs end there.
const HEAD: u64 = 64 << 10;
/// Most files of a model's folder; a folder with more is no model.
const MOST_FILES: usize = 10_000;
/// Folders below a model's folder that are looked into: `snapshots/NAME` of a hub cache and what is in it.
const DEPTH: usize = 3;

/// The key, as hexadecimal digits.
pub fn of(args: &Compile) -> Result<String> {
    let mut hash = Sha256::new();
    field(&mut hash, b"qwenc executable 1");
    field(&mut hash, env!("CARGO_PKG_VERSION").as_bytes());
    // Another build of qwenc makes other code. Without /proc the version alone tells builds apart.
    if let Ok(qwenc) = std::env::current_exe().and_then(fs::metadata) {
        identity(&mut hash, &qwenc);
    }
    // The model counts by its files, however its path is written.
    field(&mut hash, format!("{:?}", Compile { model: SAMPLE.into(), ..args.clone() }).as_bytes());
    if args.target == Target::Cpu && args.cpu.as_deref().is_none_or(|name| name == "native") {
        this_cpu(&mut hash);
    }
    let kept = args.kept()?.into_iter().map(|(_, adapter)| adapter);
    for path in inputs(&args.model, args.changes.adapters().into_iter().chain(kept), &args.stated)? {
        match path == Path::new(SAMPLE) {
            true => field(&mut hash, SAMPLE.as_bytes()),
            false => {
                input::expect_something(&path)?;
                model(&mut hash, &path)?;
            }
        }
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Hashes bytes behind their length, so that fields stay apart.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Hashes what changes when a file is changed or replaced.
fn identity(hash: &mut Sha256, file: &Metadata) {
    for number in [file.len(), file.ino(), file.dev(), file.mtime() as u64, file.mtime_nsec() as u64] {
        hash.update(number.to_le_bytes());
    }
}

/// The CPU: code for `native` depends on its features and its number of cores.
fn this_cpu(hash: &mut Sha256) {
    let mut about = Vec::new();
    // The first processor's lines; without /proc a cache that machines share is not told apart.
    if let Ok(file) = File::open("/proc/cpuinfo") {
        let _ = file.take(1 << 16).read_to_end(&mut about);
    }
    let text = String::from_utf8_lossy(&about);
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if ["model name", "flags", "cpu cores"].iter().any(|name| line.starts_with(name)) {
            field(hash, line.as_bytes());
        }
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    field(hash, &cores.to_le_bytes());
}

/// All files of a model: those of its folder, or the file with what older formats have beside it.
fn model(hash: &mut Sha256, path: &Path) -> Result<()> {
    let path = path.canonicalize().with_context(|| format!("{}: finding the model", path.display()))?;
    let mut files = Vec::new();
    if path.is_dir() {
        below(&path, DEPTH, &mut files)?;
    } else {
        beside(&path, &mut files);
    }
    files.sort();
    for file in files {
        let about = fs::metadata(&file).with_context(|| format!("{}: reading its size", file.display()))?;
        field(hash, file.as_os_str().as_bytes());
        identity(hash, &about);
        if about.is_file() {
            let mut head = Vec::new();
            let mut read = || qwenc_files::regular(&file)?.take(HEAD).read_to_end(&mut head);
            read().with_context(|| format!("{}: reading", file.display()))?;
            field(hash, &head);
        }
    }
    Ok(())
}

/// Collects the files below a folder, hidden ones left out.
fn below(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let shown = folder.display();
    let entries = fs::read_dir(folder).with_context(|| format!("{shown}: reading the folder"))?;
    for entry in entries {
        let path = entry.with_context(|| format!("{shown}: reading the folder"))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                below(&path, depth - 1, files)?;
            }
        } else if path.exists() {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            bail!("{shown}: expected the folder of a model, found more than {MOST_FILES} files");
        }
    }
    Ok(())
}

/// Collects a file, and of its folder a `tokenizer.bin` and the files whose names begin with its own.
fn beside(path: &Path, files: &mut Vec<PathBuf>) {
    files.push(path.to_path_buf());
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return };
    // A folder that cannot be listed has nothing that could be read by listing it.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let belongs = name == "tokenizer.bin" || name.as_bytes().starts_with(stem.as_bytes());
        if belongs && entry.path() != path && entry.path().is_file() {
            files.push(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(model: &Path, change: impl Fn(&mut Compile)) -> String {
        let mut args = Compile::new(model);
        change(&mut args);
        of(&args).unwrap()
    }

    #[test]
    fn a_key_changes_with_model_and_flags() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gguf");
        fs::write(&file, [7; 100_000]).unwrap();
        let first = key(&file, |_| ());
        assert_eq!(first, key(&file, |_| ()));
        assert_ne!(first, key(&file, |args| args.cpu = Some("x86-64-v3".into())));
        assert_ne!(first, key(&file, |args| args.weights.quant = Some(crate::QuantName::Int8)));
        // The same bytes in another file, put in its place.
        let other = folder.path().join("other");
        fs::copy(&file, &other).unwrap();
        fs::rename(&other, &file).unwrap();
        let second = key(&file, |_| ());
        assert_ne!(first, second);
        // Another byte at the end, and the old time.
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, [7; 100_001]).unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert_ne!(second, key(&file, |_| ()));
    }

    #[test]
    fn files_of_a_folder_count_and_hidden_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("config.json"), "{}").unwrap();
        let first = key(path, |_| ());
        fs::write(path.join(".gitattributes"), "x").unwrap();
        assert_eq!(first, key(path, |_| ()));
        fs::create_dir(path.join("additional_chat_templates")).unwrap();
        fs::write(path.join("additional_chat_templates/tool_use.jinja"), "x").unwrap();
        assert_ne!(first, key(path, |_| ()));
    }

    #[test]
    fn a_missing_model_is_named() {
        let said = of(&Compile::new("/nowhere/model.gguf")).unwrap_err().to_string();
        assert!(said.contains("/nowhere/model.gguf"), "{said}");
    }
}
