//! Linking inside qwenc, by the library `libwild`: nothing is started and nothing need be installed.
//!
//! In: a job. Out: a file. Invariant: the linker reads and writes memory alone, and a panic of its own is an error; what
//! it makes does not depend on the number of threads.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use libwild::{FileSystem, FileType, InputFileData, OutputFileData, OutputOptions};

use super::{first, unpacked, Form, Input, Job, EXPORTS, LAST};
use crate::embedded;
use crate::error::LinkError;

/// Name of the version script among the linker's input files.
const SCRIPT: &str = "exports";
/// The file that the linker writes.
const OUTPUT: &str = "linked";
/// Linker emulation (`-m`) for ELF files of this architecture.
const EMULATION: &str = if cfg!(target_arch = "aarch64") { "aarch64linux" } else { "elf_x86_64" };

pub(super) fn link(job: &Job) -> Result<(), LinkError> {
    let [begin, end] = [first(job.form), &LAST].map(|names| unpacked(names.iter().copied()));
    let runtime = unpacked([embedded::RUNTIME])?;
    let system = match job.form {
        Form::Static => unpacked(embedded::c_library())?,
        _ => unpacked(embedded::stubs().chain([embedded::NOT_SHARED, "libgcc.a"]))?,
    };
    let mut arguments: Vec<String> = ["wild", "-m", EMULATION, "-o", OUTPUT].map(String::from).to_vec();
    arguments.extend(flags(job));
    let code = job.objects.iter().cloned();
    let files: Vec<Input> = begin?.into_iter().chain(code).chain(runtime).chain(system).chain(end?).collect();
    arguments.extend(files.iter().map(|(name, _)| name.clone()));
    let exports = (SCRIPT.to_string(), EXPORTS.as_bytes().to_vec());
    let memory = Memory::new(files.into_iter().chain([exports]));
    let failed =
        |reason| LinkError::Linker { linker: "wild".into(), status: "inside qwenc".into(), output: reason };
    run(&memory, &arguments).map_err(failed)?;
    let made = memory.take(Path::new(OUTPUT)).ok_or_else(|| failed("no output".to_string()))?;
    let write = || {
        fs::write(job.output, made)?;
        fs::set_permissions(job.output, fs::Permissions::from_mode(0o755))
    };
    write().map_err(LinkError::io(job.output, "writing what was linked"))
}

/// No build id, no symbols, no name of the linker: the same input gives the same bytes.
fn flags(job: &Job) -> Vec<String> {
    let always = ["--gc-sections", "-s", "--build-id=none", "--no-identity-comment", "--eh-frame-hdr"];
    let form: Vec<&str> = match job.form {
        Form::Static => vec!["-static", "-pie", "--no-dynamic-linker"],
        Form::Dynamic => vec!["-pie", "--as-needed", "-dynamic-linker", embedded::INTERPRETER],
        // Its threads' own data would outlive it in memory, so it stays there once loaded.
        Form::Library => {
            vec!["-shared", "--as-needed", "-Bsymbolic", "-z", "nodelete", "-z", "defs", "-soname", job.name]
        }
    };
    let script = (job.form == Form::Library).then(|| format!("--version-script={SCRIPT}"));
    let all = always.into_iter().chain(["-z", "relro", "-z", "noexecstack"]).chain(form);
    all.map(String::from).chain(script).collect()
}

/// Runs the linker; its errors and its panics are words.
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

/// Contents by name.
type Files = HashMap<PathBuf, Arc<Vec<u8>>>;

/// Files in memory.
#[derive(Clone)]
struct Memory {
    files: Arc<Mutex<Files>>,
}

/// An input.
#[derive(Debug)]
struct Read(Arc<Vec<u8>>);

/// An output in the making.
struct Written {
    path: PathBuf,
    bytes: Vec<u8>,
    memory: Memory,
}

impl Memory {
    fn new(files: impl Iterator<Item = Input>) -> Memory {
        let files = files.map(|(name, bytes)| (PathBuf::from(name), Arc::new(bytes)));
        Memory { files: Arc::new(Mutex::new(files.collect())) }
    }

    /// A thread that panicked here left the map whole.
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
