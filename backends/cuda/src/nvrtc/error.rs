//! Why there is no machine code.

use std::path::PathBuf;

/// Error of NVRTC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvrtcError {
    /// Nothing that could be loaded at any of the paths.
    #[error("NVRTC (libnvrtc.so), which compiles CUDA kernels, was not found{}; install it with `pip install nvidia-cuda-nvrtc` or with NVIDIA's CUDA toolkit", notes(.broken))]
    NotFound {
        /// Files that are there, and what is wrong with each.
        broken: Vec<String>,
    },
    /// A library that the system does not load, or that is not NVRTC.
    #[error("{path}: loading NVRTC: {words}")]
    Load {
        /// The library.
        path: PathBuf,
        /// The system's words.
        words: String,
    },
    /// Architectures that are too new for this NVRTC, or too old.
    #[error("NVRTC {}.{} ({path}) cannot compile for {}; it can for {}; change --sm, or install another NVRTC (`pip install nvidia-cuda-nvrtc` gives the newest)", .version.0, .version.1, names(.missing), names(.known))]
    Architectures {
        /// The library.
        path: PathBuf,
        /// Version of the library.
        version: (u32, u32),
        /// Asked for and not known.
        missing: Vec<u32>,
        /// Known, of those that kernels can run on.
        known: Vec<u32>,
    },
    /// NVRTC refused what this crate wrote.
    #[error("NVRTC refused the kernels ({options}): this is a bug in qwenc, please report it with this text:\n{log}")]
    Source {
        /// For which architecture.
        options: String,
        /// NVRTC's words.
        log: String,
    },
    /// The library of NVRTC's built-in functions is missing.
    #[error("NVRTC ({path}) did not find its built-in functions: expected {name}.{{version}} of the same version in its folder; install NVRTC whole (`pip install nvidia-cuda-nvrtc`), or name the folder in LD_LIBRARY_PATH")]
    Builtins {
        /// The library.
        path: PathBuf,
        /// Prefix of the missing file's name.
        name: &'static str,
    },
    /// A call of NVRTC failed.
    #[error("NVRTC: {what}: {words}")]
    Call {
        /// Attempted action.
        what: &'static str,
        /// NVRTC's words.
        words: String,
    },
    /// C strings end at a NUL.
    #[error("the source of the kernels has a NUL in it: this is a bug in qwenc, please report it")]
    Nul,
}

fn notes(broken: &[String]) -> String {
    match broken {
        [] => String::new(),
        some => format!(" ({})", some.join("; ")),
    }
}

fn names(sms: &[u32]) -> String {
    sms.iter().map(|sm| format!("sm_{sm}")).collect::<Vec<_>>().join(", ")
}
