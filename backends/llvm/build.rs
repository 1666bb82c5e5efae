//! Links LLVM 19 and what it needs into programs that use this crate, statically, so that qwenc runs where only the C
//! library is installed. llvm-sys would do so too, but puts all of LLVM, 320 MB, into its own rlib, and links what LLVM
//! needs as shared libraries.
//!
//! inkwell comes after these archives in the linker's command line: GNU ld, which looks at an archive once, misses what
//! inkwell calls. lld, which rustc has and takes on x86-64, mold and wild do not.
//!
//! Invariant: a failure says what was looked for, and that scripts/setup.sh installs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Folder of an LLVM 19 that `llvm-config` is taken from; llvm-sys reads the same variable.
const PREFIX: &str = "LLVM_SYS_191_PREFIX";
/// The parts of LLVM that inkwell calls, as llvm-config names them: the C API of all that is in a module, reading and writing of
/// IR and bitcode, passes, debug information, the code generator for x86, and the interpreters of IR, which inkwell knows.
const COMPONENTS: [&str; 11] = [
    "core",
    "analysis",
    "bitreader",
    "bitwriter",
    "irreader",
    "linker",
    "passes",
    "target",
    "x86",
    "mcjit",
    "interpreter",
];
/// Libraries that LLVM depends on: compression, calls of functions found at run time, and the C++ library.
const NEEDED: [&str; 4] = ["z", "zstd", "ffi", "stdc++"];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={PREFIX}");
    match link() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo:warning={message}");
            ExitCode::FAILURE
        }
    }
}

fn link() -> Result<(), String> {
    let config = llvm_config()?;
    let libraries = said(Command::new(&config).args(["--link-static", "--libnames"]).args(COMPONENTS))?;
    println!(
        "cargo:rustc-link-search=native={}",
        said(Command::new(&config).args(["--link-static", "--libdir"]))?
    );
    for name in libraries.split_whitespace() {
        let name = name.strip_prefix("lib").and_then(|name| name.strip_suffix(".a"));
        archive(name.ok_or_else(|| format!("llvm-config names no archive but {libraries:?}"))?);
    }
    for name in NEEDED {
        let file = format!("lib{name}.a");
        // A compiler that does not find a library says the bare name.
        let path = PathBuf::from(said(Command::new("cc").arg(format!("-print-file-name={file}")))?);
        let folder = path.parent().filter(|folder| folder.is_absolute());
        let folder = folder.ok_or_else(|| format!("cc finds no {file}; scripts/setup.sh installs it"))?;
        println!("cargo:rustc-link-search=native={}", folder.display());
        archive(name);
    }
    Ok(())
}

/// Not copied into this crate's rlib: programs read the archive where it is.
fn archive(name: &str) {
    println!("cargo:rustc-link-lib=static:-bundle={name}");
}

fn llvm_config() -> Result<PathBuf, String> {
    println!("cargo:rerun-if-env-changed=PATH");
    let names = match std::env::var_os(PREFIX) {
        Some(prefix) => vec![Path::new(&prefix).join("bin/llvm-config")],
        None => vec![PathBuf::from("llvm-config-19"), PathBuf::from("llvm-config")],
    };
    let is_19 =
        |name: &&PathBuf| said(Command::new(name).arg("--version")).is_ok_and(|v| v.starts_with("19."));
    let found = names.iter().find(is_19);
    found
        .cloned()
        .ok_or_else(|| format!("no llvm-config of LLVM 19 among {names:?}; scripts/setup.sh installs it"))
}

/// Standard output of a program, trimmed.
fn said(command: &mut Command) -> Result<String, String> {
    let run = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if !run.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&run.stderr)));
    }
    Ok(String::from_utf8_lossy(&run.stdout).trim().to_owned())
}
