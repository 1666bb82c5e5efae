//! The output of one compilation: where it goes, and what was made.
//!
//! In: the arguments of `compile`. Out: a level of the pipeline at its place, or a product to link. Invariant: a file appears
//! when it is whole; an input is never replaced.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use qwenc_files::Staged;
use qwenc_link::{Form, Product};

use crate::args::{inputs, Compile, Emit, LinkerName, WeightsPlace};
use crate::output::Output;
use crate::package;

/// Result of a compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// An executable or a library.
    Binary {
        /// Bytes of its weights image.
        weights_bytes: u64,
        /// Name of the CPU, or of the GPUs' architectures.
        target: String,
    },
    /// A level of the compiler, in the output or, without one, here.
    Level(Vec<u8>),
}

/// Destination of machine code without `-o`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// To `qwen.o` or `qwen.cubin`.
    File,
    /// To the caller, as text does.
    Caller,
}

impl Unnamed {
    /// Bytes go to a file or a pipe that standard output was led to, never to a terminal.
    pub(crate) fn of_stdout() -> Unnamed {
        let kind = fs::metadata("/dev/stdout").map(|m| m.file_type());
        match kind.is_ok_and(|kind| kind.is_file() || kind.is_fifo()) {
            true => Unnamed::Caller,
            false => Unnamed::File,
        }
    }
}

/// Output of one compilation.
pub struct Job {
    /// Text without `-o` goes to standard output.
    output: Option<Output>,
    /// An executable or library in the making, with its temporary folder beside the output.
    product: Option<Product>,
}

impl Job {
    pub(crate) fn start(args: &Compile, unnamed: Unnamed) -> Result<Job> {
        let output = match (&args.output, args.emit) {
            (None, Emit::Exe) => Some(PathBuf::from("qwen")),
            (None, Emit::Lib) => Some(PathBuf::from("libqwen.so")),
            (None, Emit::Obj | Emit::Cubin) if unnamed == Unnamed::Caller => None,
            (None, Emit::Obj) => Some(PathBuf::from("qwen.o")),
            (None, Emit::Cubin) => Some(PathBuf::from("qwen.cubin")),
            (output, _) => output.clone(),
        };
        let kept = args.kept()?.into_iter().map(|(_, adapter)| adapter);
        let inputs = inputs(&args.model, args.changes.adapters().into_iter().chain(kept), &args.stated)?;
        let mut output = output.map(|path| Output::new(&path, &inputs)).transpose()?;
        if matches!(args.emit, Emit::Exe | Emit::Lib) {
            output = output.map(|o| o.file().map(Output::File)).transpose()?;
        }
        if let (Some(Output::File(path)), WeightsPlace::External) = (&output, args.place) {
            Output::new(&qwenc_link::beside(path), &inputs)?.file()?;
        }
        if args.linker == Some(LinkerName::Cc) {
            qwenc_link::require_cc()?;
        }
        let form = package::form(args);
        if let (Some(Output::File(path)), Form::Library) = (&output, form) {
            Output::new(&qwenc_link::header(path), &inputs)?.file()?;
        }
        let product = match (&output, args.emit) {
            (Some(Output::File(path)), Emit::Exe | Emit::Lib) => {
                Some(Product::new(path, form, package::linker(args))?)
            }
            _ => None,
        };
        Ok(Job { output, product })
    }

    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.output.as_ref().map(|(Output::File(path) | Output::Stream(path))| path.clone())
    }

    /// Writes what was asked for as text.
    pub fn write_text(&self, text: &str) -> Result<Made> {
        self.write_bytes(text.as_bytes())
    }

    /// To the output under a temporary name first, or into what is returned.
    pub fn write_bytes(&self, bytes: &[u8]) -> Result<Made> {
        let written = Ok(Made::Level(Vec::new()));
        let path = match &self.output {
            None => return Ok(Made::Level(bytes.to_vec())),
            Some(Output::Stream(path)) => {
                let write = || fs::File::options().write(true).open(path)?.write_all(bytes);
                write().with_context(|| format!("{}: writing", path.display()))?;
                return written;
            }
            Some(Output::File(path)) => path,
        };
        let write = || {
            let mut staged = Staged::create(path)?;
            staged.file().write_all(bytes)?;
            staged.finish()
        };
        write().with_context(|| format!("{}: writing", path.display()))?;
        written
    }

    /// The executable or library to link.
    #[cfg(any(feature = "llvm", feature = "cuda"))]
    pub fn into_product(self) -> Result<Product> {
        self.product.context("an executable or library needs an output path")
    }
}
