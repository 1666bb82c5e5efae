//! CUDA C++ to machine code, through NVIDIA's NVRTC.
//!
//! In: paths where NVRTC may be, source text, architectures. Out: cubins, and PTX. Invariant: the same text, the
//! same architecture and the same NVRTC give the same bytes: the program has a fixed name, and no path, time or
//! option of this machine reaches it. NVRTC is loaded when it is first needed and never unloaded.

mod bundle;
mod error;
mod library;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub use bundle::{bundle, Bundle};
pub use error::NvrtcError;
use library::Library;

/// The oldest architecture that has what kernels use: tensor cores for bf16, and copies that do not wait.
pub const OLDEST_SM: u32 = 80;
/// Default architectures: cards and servers from Ampere to Blackwell.
pub const DEFAULT_SMS: [u32; 6] = [80, 86, 89, 90, 100, 120];

/// Options of every program. Products and sums are joined only where the source says so: a kernel that has
/// one more rounding than another has other bits.
const OPTIONS: [&str; 3] = ["--std=c++17", "-default-device", "--fmad=false"];
/// Name of the source in messages.
const FILE_NAME: &str = "qwenc.cu";

/// A form of machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For this architecture and later ones of the same major number.
    Cubin,
    /// Text that drivers compile, for this architecture and all later ones. Ends with a NUL.
    Ptx,
}

/// Machine code of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Compute capability, 10 times: 90 for 9.0.
    pub sm: u32,
    /// Form of `bytes`.
    pub form: Form,
    /// An ELF file or text.
    pub bytes: Vec<u8>,
}

/// NVRTC, loaded.
#[derive(Debug)]
pub struct Nvrtc {
    loaded: Library,
    version: (u32, u32),
    architectures: Vec<u32>,
}

impl Nvrtc {
    /// Loads the library of this path, or of this name if it has no slash: then the system's loader looks for it.
    pub fn load(path: &Path) -> Result<Nvrtc, NvrtcError> {
        let loaded = Library::load(path)?;
        let version = loaded.version()?;
        let architectures = loaded.architectures()?;
        Ok(Nvrtc { loaded, version, architectures })
    }

    /// The first of `candidates` that can be loaded and knows all of `sms`. If none knows all, the error is about
    /// the first that could be loaded.
    pub fn find(candidates: &[PathBuf], sms: &[u32]) -> Result<Nvrtc, NvrtcError> {
        let (mut lacking, mut broken) = (None, Vec::new());
        for path in candidates {
            match Nvrtc::load(path).and_then(|found| found.knows(sms).map(|()| found)) {
                Ok(found) => return Ok(found),
                Err(e @ NvrtcError::Architectures { .. }) => lacking = lacking.or(Some(e)),
                Err(NvrtcError::Load { .. }) if !exists(path) => {}
                Err(e) => broken.push(e.to_string()),
            }
        }
        Err(lacking.unwrap_or(NvrtcError::NotFound { broken }))
    }

    /// Major and minor number.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Compute capabilities that it compiles for, 10 times, ascending.
    pub fn architectures(&self) -> &[u32] {
        &self.architectures
    }

    fn knows(&self, sms: &[u32]) -> Result<(), NvrtcError> {
        let mut missing = sms.to_vec();
        missing.retain(|sm| !self.architectures.contains(sm));
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        Err(NvrtcError::Architectures {
            path: self.loaded.path().to_path_buf(),
            version: self.version,
            missing,
            known: self.architectures.iter().copied().filter(|&sm| sm >= OLDEST_SM).collect(),
        })
    }

    /// Compiles `source` to one form for one architecture.
    pub fn compile(&self, source: &str, sm: u32, form: Form) -> Result<Compiled, NvrtcError> {
        let bytes = self.compile_forms(source, sm, &[form])?.remove(0);
        Ok(Compiled { sm, form, bytes })
    }

    /// The bytes of `source` in every one of `forms`. A cubin is assembled from PTX, which is that of the architecture
    /// without a device; so both cost no more than the cubin.
    fn compile_forms(&self, source: &str, sm: u32, forms: &[Form]) -> Result<Vec<Vec<u8>>, NvrtcError> {
        self.knows(&[sm])?;
        let text = |s: &str| CString::new(s).map_err(|_| NvrtcError::Nul);
        let kind = if forms.contains(&Form::Cubin) { "sm" } else { "compute" };
        let architecture = format!("--gpu-architecture={kind}_{sm}");
        let options: Result<Vec<_>, _> = OPTIONS.iter().copied().chain([&*architecture]).map(text).collect();
        let program = self.loaded.program(&text(source)?, &text(FILE_NAME)?)?;
        program.compile(&options?, &architecture)?;
        let bytes = |form: &Form| match form {
            Form::Cubin => program.cubin(),
            Form::Ptx => program.ptx(),
        };
        forms.iter().map(bytes).collect()
    }

    /// Compiles `source` to every one of `targets`, in their order, on at most `threads` threads; `done` is told
    /// how many are ready. Neighbours of one architecture are compiled once.
    pub fn compile_all(
        &self,
        source: &str,
        targets: &[(u32, Form)],
        threads: usize,
        done: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Compiled>, NvrtcError> {
        let programs: Vec<_> = targets.chunk_by(|(a, _), (b, _)| a == b).collect();
        let (next, ready) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = Mutex::new(Vec::new());
        let work = || loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(&program) = programs.get(i) else { return };
            let (sm, forms) = (program[0].0, program.iter().map(|(_, form)| *form).collect::<Vec<_>>());
            let pieces = self.compile_forms(source, sm, &forms).map(|all| {
                all.into_iter()
                    .zip(forms)
                    .map(|(bytes, form)| Compiled { sm, form, bytes })
                    .collect::<Vec<_>>()
            });
            results.lock().unwrap_or_else(PoisonError::into_inner).push((i, pieces));
            program.iter().for_each(|_| done(ready.fetch_add(1, Ordering::Relaxed) + 1));
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, programs.len().max(1)) {
                scope.spawn(work);
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(i, _)| *i);
        let pieces: Result<Vec<_>, _> = results.into_iter().map(|(_, pieces)| pieces).collect();
        Ok(pieces?.concat())
    }
}

/// A name without a slash is not a file: whether the loader knows it is seen when it is loaded.
fn exists(path: &Path) -> bool {
    path.components().count() > 1 && path.exists()
}
