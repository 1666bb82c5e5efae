//! The linker inside qwenc: `libwild`, on files in memory.
//!
//! In: command-line arguments of a linker, and the files that they name. Out: the bytes of the linked file. Invariant: it
//! reads and writes memory alone and starts nothing; a panic of the linker is an error; the output does not depend on the
//! number of threads. A crate of its own, since most of `libwild` is generic code that is compiled here: changes of
//! `qwenc-link` do not compile it again.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use libwild::{FileSystem, FileType, InputFileData, OutputFileData, OutputOptions};

/// Linker emulation (`-m`) for ELF files of this architecture.
const EMULATION: &str = if cfg!(target_arch = "aarch64") { "aarch64linux" } else { "elf_x86_64" };
/// Name of the linked file in memory.
const OUTPUT: &str = "linked";

/// Links these files, given by name and contents. `arguments` are those of the command `wild` but for the emulation and the
/// output. Errors are the linker's messages.
pub fn link(arguments: &[String], files: impl Iterator<Item = (String, Vec<u8>)>) -> Result<Vec<u8>, String> {
    let memory = Memory::new(files);
    let fixed = ["wild", "-m", EMULATION, "-o", OUTPUT].map(String::from);
    let all: Vec<String> = fixed.into_iter().chain(arguments.iter().cloned()).collect();
    run(&memory, &all)?;
    memory.take(Path::new(OUTPUT)).ok_or_else(|| "no output".to_string())
}

/// Runs the linker. Its errors and panics are returned as messages.
fn run(memory: &Memory, arguments: &[String]) -> Result<(), String> {
    let given = || arguments.iter();
    let work = || -> libwild::error::Result {
        let mut args = libwild::Args::new(given)?;
        // What matters is an error; warnings are of no use to a person who compiles a model.
        args.on_warning(Box::new(|_| {}));
        args.parse(given)?;
        libwild::Linker::with_file_system(memory.clone()).run(&args).map(drop)
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("an internal error of the linker".to_string()),
    }
}

/// File contents by name.
type Files = HashMap<PathBuf, Arc<Vec<u8>>>;

/// Files in memory.
#[derive(Clone)]
struct Memory {
    files: Arc<Mutex<Files>>,
}

/// Input file.
#[derive(Debug)]
struct Read(Arc<Vec<u8>>);

/// Output file that is being written.
struct Written {
    path: PathBuf,
    bytes: Vec<u8>,
    memory: Memory,
}

impl Memory {
    fn new(files: impl Iterator<Item = (String, Vec<u8>)>) -> Memory {
        let files = files.map(|(name, bytes)| (PathBuf::from(name), Arc::new(bytes)));
        Memory { files: Arc::new(Mutex::new(files.collect())) }
    }

    /// Locks the files. A poisoned lock is taken too: nothing panics while the map is half changed.
    fn lock(&self) -> std::sync::MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn get(&self, path: &Path) -> libwild::error::Result<Arc<Vec<u8>>> {
        let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, path.display().to_string());
        Ok(self.lock().get(path).cloned().ok_or_else(missing)?)
    }

    fn take(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().remove(path).map(Arc::unwrap_or_clone)
    }

    fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.lock().insert(path.to_path_buf(), Arc::new(bytes));
    }
}

impl InputFileData for Read {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl OutputFileData for Written {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn finish(self) -> libwild::error::Result {
        self.memory.put(&self.path, self.bytes);
        Ok(())
    }
}

impl FileSystem for Memory {
    type Input = Read;
    type Output = Written;

    fn open_input(&self, path: &Path, _: bool) -> libwild::error::Result<(Read, Option<Arc<File>>)> {
        Ok((Read(self.get(path)?), None))
    }

    fn file_type(&self, path: &Path) -> libwild::error::Result<FileType> {
        self.get(path).map(|_| FileType::File)
    }

    fn canonicalize(&self, path: &Path) -> libwild::error::Result<PathBuf> {
        Ok(path.to_path_buf())
    }

    fn remove_file(&self, path: &Path) -> libwild::error::Result<()> {
        self.take(path);
        Ok(())
    }

    fn rename_file(&self, path: &Path, to: &Path) -> libwild::error::Result<()> {
        self.get(path)?;
        if let Some(bytes) = self.take(path) {
            self.put(to, bytes);
        }
        Ok(())
    }

    fn create_output(&self, path: Arc<Path>, options: OutputOptions) -> libwild::error::Result<Written> {
        let bytes = vec![0; usize::try_from(options.size).map_err(std::io::Error::other)?];
        Ok(Written { path: path.to_path_buf(), bytes, memory: self.clone() })
    }

    fn write_auxiliary(&self, path: &Path, bytes: &[u8]) -> libwild::error::Result<()> {
        self.put(path, bytes.to_vec());
        Ok(())
    }
}
