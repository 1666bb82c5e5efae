//! Object files, runtime and C library to an executable or a library, by the linker inside qwenc or by a C compiler.
//!
//! In: objects, the form wanted. Out: a file, and why another linker than the first made it. Invariant: both linkers get the
//! same objects and archives in the same order; neither writes a build id, symbols or a path of this machine.

mod cc;
mod wild;

use std::path::Path;

use crate::embedded;
use crate::error::LinkError;

pub use cc::require as require_cc;

/// Form of the linked file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A program that needs no loader and no library.
    Static,
    /// A program that needs the system's loader and C library.
    Dynamic,
    /// A shared library, and its header beside it.
    Library,
}

/// The program that links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    /// The one inside qwenc, and the C compiler where that one fails.
    Any,
    /// The one inside qwenc.
    Wild,
    /// The system's C compiler, which runs the system's linker.
    Cc,
}

/// File to be linked: a name and its contents.
pub(crate) type Input = (String, Vec<u8>);

/// Input and output of one link.
pub(crate) struct Job<'a> {
    pub(crate) form: Form,
    /// Code, its entry point and data.
    pub(crate) objects: Vec<Input>,
    /// The name by which programs find a library.
    pub(crate) name: &'a str,
    /// A folder for what a linker reads.
    pub(crate) folder: &'a Path,
    /// The file to write.
    pub(crate) output: &'a Path,
}

/// Links. Gives what the linker inside qwenc said where the C compiler had to do its work.
pub(crate) fn link(job: &Job, linker: Linker) -> Result<Option<String>, LinkError> {
    match linker {
        Linker::Cc => cc::link(job).map(|()| None),
        Linker::Wild => wild::link(job).map(|()| None),
        Linker::Any => match wild::link(job) {
            Ok(()) => Ok(None),
            // Without a C compiler the first reason is the one that helps.
            Err(reason) if cc::require().is_err() => Err(reason),
            Err(reason) => cc::link(job).map(|()| Some(reason.to_string())),
        },
    }
}

/// Version script: a library exports the functions of qwen.h alone.
const EXPORTS: &str = "{ global: qwen_*; local: *; };\n";

/// Startup objects before all others.
fn first(form: Form) -> &'static [&'static str] {
    match form {
        Form::Static => &["rcrt1.o", "crti.o", "crtbeginS.o", "static_dl.o"],
        Form::Dynamic => &["Scrt1.o", "crti.o", "crtbeginS.o"],
        Form::Library => &["crti.o", "crtbeginS.o"],
    }
}

/// Startup objects behind all others.
const LAST: [&str; 2] = ["crtendS.o", "crtn.o"];

/// These files of qwenc's.
fn unpacked<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Vec<Input>, LinkError> {
    names.into_iter().map(|name| Ok((name.to_string(), embedded::unpacked(name)?))).collect()
}
