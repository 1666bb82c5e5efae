//! Builds the runtime as a static library and packs it for embedding.
//!
//! In: the `qwenc-rt` crate of this workspace. Out: `OUT_DIR/runtime.a.zst`, and its C header. The runtime is always
//! built for release and for any x86-64, whatever profile and flags qwenc itself is built with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let crate_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = crate_dir.join("../..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["runtime/rt", "runtime/abi", "runtime/bpe", "Cargo.lock", "Cargo.toml"] {
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
    let archive = fs::read(target.join("release/libqwenc_rt.a"))?;
    fs::write(out.join("runtime.a.zst"), zstd::bulk::compress(&archive, 12)?)?;
    fs::copy(root.join("runtime/rt/include/qwen.h"), out.join("qwen.h"))?;
    Ok(())
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
