//! Linking by the system's C compiler: `CC`, else `cc`.
//!
//! In: a job. Out: a file. Invariant: a static executable is made of the C library inside qwenc alone; a dynamic one is linked
//! with the system's own libraries.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use super::{first, unpacked, Form, Input, Job, EXPORTS, LAST};
use crate::embedded;
use crate::error::LinkError;

/// Refuses a machine without a C compiler: before the work is better than after it.
pub fn require() -> Result<(), LinkError> {
    let mut command = Command::new(compiler());
    command.arg("--version");
    run(command)
}

pub(super) fn link(job: &Job) -> Result<(), LinkError> {
    let mut command = Command::new(compiler());
    // No build id and no symbols: the same input gives the same bytes.
    command.arg("-o").arg(job.output).args(["-s", "-Wl,--gc-sections,--build-id=none"]);
    let objects = write(job, &job.objects)?;
    let runtime = write(job, &unpacked([embedded::RUNTIME])?)?;
    if job.form == Form::Static {
        let [begin, end] = [first(job.form), &LAST].map(|names| unpacked(names.iter().copied()));
        command.args(["-static-pie", "-nostdlib"]).args(write(job, &begin?)?).args(objects).args(runtime);
        command.arg("-Wl,--start-group").args(write(job, &unpacked(embedded::c_library())?)?);
        command.arg("-Wl,--end-group").args(write(job, &end?)?);
        return run(command);
    }
    command.args(objects).args(runtime);
    match job.form {
        Form::Library => command.args(library_flags(job)?),
        _ => command.arg("-pie"),
    };
    command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]);
    run(command)
}

fn library_flags(job: &Job) -> Result<Vec<OsString>, LinkError> {
    let exports = write(job, &[("exports".to_string(), EXPORTS.as_bytes().to_vec())])?;
    let mut script = OsString::from("-Wl,--version-script=");
    exports.iter().for_each(|path| script.push(path));
    let name = OsString::from(format!("-Wl,-soname,{}", job.name));
    // Its threads' own data would outlive it in memory, so it stays there once loaded.
    let rest = ["-shared", "-fPIC", "-Wl,-Bsymbolic,-z,nodelete,-z,defs"].map(OsString::from);
    Ok(rest.into_iter().chain([script, name]).collect())
}

/// Puts files where the compiler can read them.
fn write(job: &Job, files: &[Input]) -> Result<Vec<PathBuf>, LinkError> {
    let one = |(name, bytes): &Input| {
        let path = job.folder.join(name);
        std::fs::write(&path, bytes).map_err(LinkError::io(&path, "writing a file for the linker"))?;
        Ok(path)
    };
    files.iter().map(one).collect()
}

fn compiler() -> String {
    std::env::var("CC").ok().filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".to_string())
}

fn run(mut command: Command) -> Result<(), LinkError> {
    let linker = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(source) => return Err(LinkError::NoLinker { linker, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim_end().to_string();
    Err(LinkError::Linker { linker, status: output.status.to_string(), output: words })
}
