//! Builds the runtime as a static library and packs it for embedding.
//!
//! In: the `qwenc-rt` crate of this workspace, or an archive of it that scripts/runtime.sh built, in `QWENC_RUNTIME`. Out:
//! `OUT_DIR/runtime.a.zst`, and its C header. Invariant: the runtime is optimised and runs on any x86-64, whatever profile
//! and flags qwenc itself is built with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let crate_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = crate_dir.join("../..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-env-changed=QWENC_RUNTIME");
    let archive = match env::var_os("QWENC_RUNTIME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => build_runtime(&root, &out)?,
    };
    watch(&root.join("runtime/rt/include"))?;
    println!("cargo:rerun-if-changed={}", archive.display());
    let archive = fs::read(&archive).map_err(|e| format!("{}: {e}", archive.display()))?;
    fs::write(out.join("runtime.a.zst"), zstd::bulk::compress(&archive, 12)?)?;
    fs::copy(root.join("runtime/rt/include/qwen.h"), out.join("qwen.h"))?;
    Ok(())
}

/// Builds the runtime with a cargo of its own, in a target folder of its own: this build's is locked.
fn build_runtime(root: &Path, out: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    for watched in [
        "runtime/rt/src",
        "runtime/rt/include",
        "runtime/rt/Cargo.toml",
        "runtime/abi",
        "runtime/bpe",
        "runtime/files",
        "Cargo.lock",
        "Cargo.toml",
    ] {
        watch(&root.join(watched))?;
    }
    let target = out.join("runtime-target");
    let status = Command::new(env::var("CARGO")?)
        .args(["rustc", "--release", "--package", "qwenc-rt", "--lib", "--crate-type", "staticlib"])
        .args(["--config", "profile.release.codegen-units=1"])
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
    if !status.success() {
        return Err("building the runtime (qwenc-rt) failed; its errors stand above".into());
    }
    Ok(target.join("release/libqwenc_rt.a"))
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
