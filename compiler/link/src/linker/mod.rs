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
        Linker::Any => either(|| wild::link(job), cc::require, || cc::link(job)),
    }
}

/// Links with `first` or, where that fails and `require` finds a second linker, with `second`. Gives what the first said
/// where the second had to do its work.
fn either(
    first: impl FnOnce() -> Result<(), LinkError>,
    require: impl FnOnce() -> Result<(), LinkError>,
    second: impl FnOnce() -> Result<(), LinkError>,
) -> Result<Option<String>, LinkError> {
    let Err(reason) = first() else { return Ok(None) };
    match require() {
        Ok(()) => second().map(|()| Some(reason.to_string())),
        // Without a second linker the first reason is the one that helps.
        Err(_) => Err(reason),
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

#[cfg(test)]
mod tests {
    use qwenc_abi::Identity;

    use super::*;
    use crate::entry;

    /// A linker script that GNU's linker reads, and the linker inside qwenc does not: to that one it names a file.
    const SCRIPT: &[u8] = b"INHIBIT_COMMON_ALLOCATION\n";

    /// Links an executable, of these bytes too, and reads it.
    fn linked(linker: Linker, more: Option<&[u8]>) -> (Result<Option<String>, LinkError>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity { code_id: [1; 32], weights_id: [2; 32] };
        let mut objects = vec![
            (entry::MAIN.to_string(), embedded::unpacked(entry::MAIN).unwrap()),
            ("bundle.o".to_string(), entry::data(b"no kernels", &identity).unwrap()),
        ];
        objects.extend(more.map(|bytes| ("more.o".to_string(), bytes.to_vec())));
        let output = folder.path().join("linked");
        let job =
            Job { form: Form::Dynamic, objects, name: "linked", folder: folder.path(), output: &output };
        let done = link(&job, linker);
        (done, std::fs::read(&output).unwrap_or_default())
    }

    fn failed(linker: &str) -> LinkError {
        LinkError::Linker { linker: linker.into(), status: "in a test".into(), output: String::new() }
    }

    #[test]
    fn the_c_compiler_links_what_the_first_linker_refuses() {
        let (done, file) = linked(Linker::Any, None);
        assert!(done.unwrap().is_none() && file.starts_with(b"\x7fELF"));
        let (done, file) = linked(Linker::Wild, Some(SCRIPT));
        let refusal = done.unwrap_err().to_string();
        let by_wild = |words: &str| words.starts_with("`wild` failed (inside qwenc):");
        assert!(by_wild(&refusal) && file.is_empty(), "{refusal}");
        let (done, file) = linked(Linker::Any, Some(SCRIPT));
        assert!(done.unwrap().is_some_and(|reason| by_wild(&reason)) && file.starts_with(b"\x7fELF"));
        // Where both fail, the error is the C compiler's.
        let refusal = linked(Linker::Any, Some(&b"no object"[..])).0.unwrap_err().to_string();
        assert!(!by_wild(&refusal) && refusal.contains("more.o"), "{refusal}");
    }

    #[test]
    fn the_second_linker_is_asked_only_where_it_is_needed_and_there() {
        let unasked = || -> Result<(), LinkError> { unreachable!("it is not needed") };
        assert!(matches!(either(|| Ok(()), unasked, unasked), Ok(None)));
        let alone = either(|| Err(failed("first")), || Err(failed("none")), unasked);
        assert_eq!(alone.unwrap_err().to_string(), failed("first").to_string());
        let both = either(|| Err(failed("first")), || Ok(()), || Ok(()));
        assert_eq!(both.unwrap(), Some(failed("first").to_string()));
        let neither = either(|| Err(failed("first")), || Ok(()), || Err(failed("second")));
        assert_eq!(neither.unwrap_err().to_string(), failed("second").to_string());
    }
}
