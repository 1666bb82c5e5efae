//! Why linking failed.

use std::io;
use std::path::{Path, PathBuf};

use qwenc_plan::PackError;

/// Error of linking, with the path where it happened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file could not be made.
    #[error("{path}: {what}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Attempted action.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// There is nothing to link with.
    #[error("this qwenc was built with QWENC_RUNTIME=none, so that it links nothing; build it again without that, or with QWENC_RUNTIME=FILE of scripts/runtime.sh")]
    NoRuntime,
    /// The output path cannot be a file.
    #[error("{path}: expected a path for a file, found {found}; give another -o")]
    Output {
        /// Path of the output.
        path: PathBuf,
        /// Kind of file at the path.
        found: &'static str,
    },
    /// Weights could not be packed.
    #[error(transparent)]
    Pack(PackError),
    /// The linked program has no single place for the hash of its weights.
    #[error(
        "{path}: the linked program does not have its identity exactly once; this is a bug, please report it"
    )]
    Identity {
        /// The output.
        path: PathBuf,
    },
    /// An object file could not be written.
    #[error("writing an object file for the linker: {0}")]
    Object(object::write::Error),
    /// No linker.
    #[error("cannot run `{linker}`: {source}; install a C compiler (Debian: apt-get install gcc libc6-dev), name one in CC, or leave --linker out")]
    NoLinker {
        /// The command.
        linker: String,
        /// The system's words.
        source: io::Error,
    },
    /// The linker refused.
    #[error("`{linker}` failed ({status}):\n{output}")]
    Linker {
        /// The command.
        linker: String,
        /// Exit status.
        status: String,
        /// Its words.
        output: String,
    },
}

impl LinkError {
    /// The same about `output`, instead of a temporary file that is made on the way to it.
    pub fn at(self, output: &Path) -> LinkError {
        let path = output.to_path_buf();
        match self {
            LinkError::Io { what, source, .. } => LinkError::Io { path, what, source },
            other => other,
        }
    }

    pub(crate) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> LinkError {
        let path = path.to_path_buf();
        move |source| LinkError::Io { path, what, source }
    }
}
