//! Files taken from the C compiler of the machine that builds qwenc.
//!
//! In: `CC`, else `cc`. Out: startup objects, the C library as archives, and objects compiled from the C files beside this one.
//! Invariant: what is missing is named with the package that has it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::Failure;

/// Startup objects of static and dynamic executables and of libraries, in no order.
const OBJECTS: [&str; 6] = ["rcrt1.o", "Scrt1.o", "crti.o", "crtn.o", "crtbeginS.o", "crtendS.o"];
/// Archives that a static executable is linked with; the last is for dynamic ones alone.
const ARCHIVES: [&str; 5] = ["libc.a", "libm.a", "libgcc.a", "libgcc_eh.a", "libc_nonshared.a"];

/// The C compiler.
pub fn compiler() -> Command {
    Command::new(env::var_os("CC").filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".into()))
}

/// Runs a tool and gives what it wrote to standard output.
pub fn run(command: &mut Command) -> Result<String, Failure> {
    let output =
        command.output().map_err(|e| format!("{command:?}: {e}; install a C compiler and binutils"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end()).into()),
    }
}

/// Startup objects and the archives of the C library, copied to `out` and stripped.
pub fn static_files(out: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut files = Vec::new();
    for name in OBJECTS.iter().chain(&ARCHIVES) {
        for (i, source) in parts(&find(name)?)?.iter().enumerate() {
            // A script names several archives.
            let name = if i == 0 { name.to_string() } else { format!("{i}-{name}") };
            let copy = out.join(&name);
            fs::copy(source, &copy)?;
            if name.ends_with(".a") {
                strip(&copy)?;
            }
            files.push((name, copy));
        }
    }
    Ok(files)
}

/// Path of a file of the C compiler: an object or archive, found by `-print-file-name`.
fn find(name: &str) -> Result<PathBuf, Failure> {
    let found = run(compiler().arg(format!("-print-file-name={name}")))?;
    let path = PathBuf::from(found.trim_end());
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!(
            "the C compiler has no {name}: install the static C library (libc6-dev, glibc-static)"
        )
        .into()),
    }
}

/// The file itself, or the archives that a linker script such as Debian's libm.a names.
fn parts(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let bytes = fs::read(path)?;
    if bytes.starts_with(b"!<arch>") || bytes.starts_with(b"\x7fELF") {
        return Ok(vec![path.to_path_buf()]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let named: Vec<PathBuf> = text
        .split_whitespace()
        .filter(|w| w.starts_with('/') && w.ends_with(".a"))
        .map(PathBuf::from)
        .collect();
    match named.is_empty() {
        true => Err(format!("{}: expected an archive or a script that names some", path.display()).into()),
        false => Ok(named),
    }
}

/// Takes from an archive what no executable keeps: debug information, and LLVM's bitcode beside machine code.
pub fn strip(archive: &Path) -> Result<(), Failure> {
    let tool = run(compiler().arg("-print-prog-name=objcopy"))?;
    let flags = ["--strip-debug", "--enable-deterministic-archives", "-R", ".llvmbc", "-R", ".llvmcmd"];
    run(Command::new(tool.trim_end()).args(flags).arg(archive)).map(drop)
}

/// The entry points of executables and libraries whose kernels are for GPUs, and what static executables have in the place of a
/// dynamic loader.
pub fn compiled(crate_dir: &Path, out: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let sources = [
        ("cuda_main", "cuda_main", "-DRUN=qwenc_main_cuda"),
        ("cuda_main_without_serve", "cuda_main", "-DRUN=qwenc_main_cuda_without_serve"),
        ("cuda_load", "cuda_load", "-DNDEBUG"),
        ("static_dl", "static_dl", "-DNDEBUG"),
    ];
    let objects = sources.map(|(name, source, define)| {
        let (source, object) = (crate_dir.join(format!("build/{source}.c")), out.join(format!("{name}.o")));
        let flags = ["-O2", "-fPIC", "-g0", "-fno-ident", define, "-c", "-o"];
        run(compiler().args(flags).arg(&object).arg(source))?;
        Ok((format!("{name}.o"), object))
    });
    objects.into_iter().collect()
}
