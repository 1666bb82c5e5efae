//! Linking by the linker inside qwenc: nothing is started and nothing need be installed.
//!
//! In: a job. Out: a file. Invariant: arguments and inputs depend on the job and the files inside qwenc alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{first, unpacked, Form, Input, Job, EXPORTS, LAST};
use crate::embedded;
use crate::error::LinkError;

/// Name of the version script among the linker's input files.
const SCRIPT: &str = "exports";

pub(super) fn link(job: &Job) -> Result<(), LinkError> {
    let [begin, end] = [first(job.form), &LAST].map(|names| unpacked(names.iter().copied()));
    let runtime = unpacked([embedded::RUNTIME])?;
    let system = match job.form {
        Form::Static => unpacked(embedded::c_library())?,
        _ => unpacked(embedded::stubs().chain([embedded::NOT_SHARED, "libgcc.a"]))?,
    };
    let mut arguments = flags(job);
    let code = job.objects.iter().cloned();
    let files: Vec<Input> = begin?.into_iter().chain(code).chain(runtime).chain(system).chain(end?).collect();
    arguments.extend(files.iter().map(|(name, _)| name.clone()));
    let exports = (SCRIPT.to_string(), EXPORTS.as_bytes().to_vec());
    let failed =
        |reason| LinkError::Linker { linker: "wild".into(), status: "inside qwenc".into(), output: reason };
    let made = qwenc_wild::link(&arguments, files.into_iter().chain([exports])).map_err(failed)?;
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
