//! `scripts/gpu-check.sh` where there is no GPU: what it packs runs on the stand-in for one, and without a driver it
//! says that it looked at nothing.
//!
//! Run `cargo build --workspace` first, or scripts/test.sh.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use qwenc_tests::data::{folder as checkpoint, root};
use qwenc_tests::host_cuda::Host;
use qwenc_tests::nvrtc;
use qwenc_tests::program::{binary, qwenc, run};
use qwenc_tests::variants::folder;

const MODEL: &str = "qwen3-tied";

/// The script, with the NVRTC that scripts/setup-tests.sh installs.
fn check() -> Command {
    let mut command = Command::new(root().join("scripts/gpu-check.sh"));
    let nvidia = root().join("target/nvidia/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", nvidia.display())).env("QWENC_NVRTC", nvrtc::folder());
    command
}

/// A folder with the archive of one executable.
fn packed() -> &'static Path {
    static PACKED: OnceLock<PathBuf> = OnceLock::new();
    PACKED.get_or_init(|| {
        let place = folder();
        let flags = ["--models", MODEL, "--types", "bf16", "--shapes", "none"];
        run(check().arg("pack").arg(&place).args(flags).arg("--qwenc").arg(binary())).ok();
        assert!(place.join("check.tar.xz").exists());
        place
    })
}

/// Kernels of the packed model with these weights, for the host.
fn kernels(quant: &str) -> Host {
    let case = checkpoint(MODEL);
    let args = ["compile", case.to_str().unwrap(), "--target", "cuda", "--emit", "cuda", "--quant", quant];
    Host::new(&run(&mut qwenc(&args)).ok())
}

/// A driver of this machine is hidden behind a file that is no library, which the loader finds first.
#[test]
fn without_a_driver_nothing_is_looked_at() {
    let hiding = folder();
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::fs::write(hiding.join(name), "no library").unwrap();
    }
    let said = run(check().arg(packed()).env("LD_LIBRARY_PATH", &hiding));
    assert_eq!(said.code, Some(77), "{said:?}");
    assert!(said.out.starts_with("skipped: no CUDA device (no CUDA driver found"), "{said:?}");
    assert!(!packed().join("results.json").exists());
}

#[test]
fn answers_pass_on_the_stand_in() {
    let results = folder().join("results.json");
    let mut command = check();
    command.arg(packed()).args(["--only", "answers", "--jobs", "2", "--results"]).arg(&results);
    let said = run(kernels("bf16").lend(&mut command, 1));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("4 passed, 0 failed, 0 skipped"), "{said:?}");
    assert_eq!(said.out.matches("same bits in all steps").count(), 3, "{said:?}");
    assert!(std::fs::read_to_string(results).unwrap().contains("\"devices\""));
}

/// Kernels of other weights than the executable's.
#[test]
fn wrong_kernels_fail() {
    let results = folder().join("results.json");
    let mut command = check();
    command.arg(packed()).args(["--only", "answers", "--jobs", "2", "--results"]).arg(&results);
    let said = run(kernels("int8").lend(&mut command, 1));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("0 passed, 4 failed, 0 skipped"), "{said:?}");
    assert!(said.out.contains("every answer is wrong: nothing else is looked at"), "{said:?}");
}

#[test]
fn wrong_arguments() {
    let nowhere = folder();
    let said = run(check().arg(&nowhere));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("check.tar.xz: no such file; make it with `scripts/gpu-check.sh pack "),
        "{said:?}"
    );
    let said = run(check().arg(packed()).args(["--models", "qwen3-yarn"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("--models qwen3-yarn: expected some of qwen3-tied, none, as packed"),
        "{said:?}"
    );
    assert_eq!(run(&mut check()).code, Some(2));
    assert!(run(check().arg("--help")).ok().contains("77: skipped, no CUDA device"));
}
