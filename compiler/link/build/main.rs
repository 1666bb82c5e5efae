//! Builds the runtime as a static library and packs it for embedding, with what of the system's C library it is linked with.
//!
//! In: the `qwenc-rt` crate of this workspace, or an archive of it that scripts/runtime.sh built, in `QWENC_RUNTIME`; the
//! system's C compiler and its libraries. Out: `OUT_DIR/embedded.rs`, a table of compressed files, and the runtime's C
//! header. Invariant: the runtime is optimised and runs on any x86-64, whatever profile and flags qwenc itself is built with.

mod paths;
mod stubs;
mod toolchain;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::write::ZlibEncoder;
use flate2::Compression;

type Failure = Box<dyn std::error::Error>;

/// Names the archive to embed instead of building it here.
const RUNTIME_VARIABLE: &str = "QWENC_RUNTIME";
/// Value for a build without a runtime, with which scripts/runtime.sh compiles the dependencies of both; it links nothing.
const NONE: &str = "none";

/// Folders of the crates in the runtime's archive.
const RUNTIME_CRATES: [&str; 10] =
    ["abi", "bpe", "files", "jinja", "engine", "text", "serve", "cli", "c_api", "rt"];

fn main() -> Result<(), Failure> {
    let crate_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = crate_dir.join("../..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    watch(&crate_dir.join("build"))?;
    watch(&root.join("runtime/c_api/include"))?;
    for variable in [RUNTIME_VARIABLE, "CC"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    fs::copy(root.join("runtime/c_api/include/qwen.h"), out.join("qwen.h"))?;
    if env::var_os(RUNTIME_VARIABLE).is_some_and(|made| made == NONE) {
        return embed(&[], "", &out);
    }
    let archive = out.join("libqwenc_rt.a");
    fs::copy(runtime(&root, &out)?, &archive)?;
    toolchain::strip(&archive)?;
    paths::overwrite(&archive, &root)?;

    let mut files = vec![("libqwenc_rt.a".to_string(), archive.clone())];
    files.extend(toolchain::static_files(&out)?);
    files.extend(toolchain::compiled(&crate_dir, &out)?);
    files.extend(stubs::make(&crate_dir, &out, &archive)?);
    embed(&files, &stubs::interpreter(&out.join(stubs::PROBE))?, &out)?;
    // Packed, they are not needed any more.
    for (_, path) in files.iter().filter(|(_, path)| path.starts_with(&out)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// The runtime's archive: made beforehand, or built by a cargo of its own in a target folder of its own, since this
/// build's is locked.
fn runtime(root: &Path, out: &Path) -> Result<PathBuf, Failure> {
    if let Some(made) = env::var_os(RUNTIME_VARIABLE).filter(|path| !path.is_empty()) {
        println!("cargo:rerun-if-changed={}", Path::new(&made).display());
        return match Path::new(&made).is_file() {
            true => Ok(made.into()),
            false => Err(format!("{RUNTIME_VARIABLE}: expected an archive, found no file {made:?}").into()),
        };
    }
    for name in RUNTIME_CRATES {
        watch(&root.join("runtime").join(name).join("src"))?;
        watch(&root.join("runtime").join(name).join("Cargo.toml"))?;
    }
    for watched in ["Cargo.lock", "Cargo.toml"] {
        watch(&root.join(watched))?;
    }
    let target = out.join("runtime-target");
    let status = Command::new(env::var("CARGO")?)
        .args(["rustc", "--release", "--package", "qwenc-rt", "--lib", "--crate-type", "staticlib"])
        .args(["--config", "profile.release.strip=true"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .status()?;
    match status.success() {
        true => Ok(target.join("release/libqwenc_rt.a")),
        false => Err("building the runtime (qwenc-rt) failed; its errors stand above".into()),
    }
}

/// Compresses the files and writes the function `files`, the table of their names and bytes, and the name of the dynamic
/// loader. A function that is not inlined, since the contents of a static are part of a crate's metadata too: three times
/// the size in the target folder.
fn embed(files: &[(String, PathBuf)], interpreter: &str, out: &Path) -> Result<(), Failure> {
    let mut table = String::from("/// Names and compressed contents.\n#[inline(never)]\n");
    table.push_str("fn files() -> &'static [(&'static str, &'static [u8])] {\n    &[\n");
    for (name, path) in files {
        let packed = out.join(format!("{name}.z"));
        let mut encoder = ZlibEncoder::new(fs::File::create(&packed)?, Compression::default());
        encoder.write_all(&fs::read(path)?)?;
        encoder.finish()?;
        writeln!(table, "        ({name:?}, include_bytes!({packed:?})),")?;
    }
    table.push_str("    ]\n}\n");
    table.push_str("/// The dynamic loader of this system.\n");
    writeln!(table, "pub const INTERPRETER: &str = {interpreter:?};")?;
    Ok(fs::write(out.join("embedded.rs"), table)?)
}

/// A change of any file below `path` builds the runtime again.
fn watch(path: &Path) -> std::io::Result<()> {
    println!("cargo:rerun-if-changed={}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            watch(&entry?.path())?;
        }
    }
    Ok(())
}
