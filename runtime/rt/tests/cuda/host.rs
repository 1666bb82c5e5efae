//! A machine with GPUs that has none: the stand-in for the driver and the mock's kernels, compiled for this
//! processor.
//!
//! In: a test. Out: the same test in a process of its own that finds the stand-in. Invariant: the driver's library
//! is found when a process starts to use it, so the environment must be right before that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use qwenc_abi::CudaStep;

/// Says to a test that it runs where the stand-in is.
const INSIDE: &str = "QWENC_HOST_KERNELS";

/// Runs `body`, the whole of the test called `name`, where there are GPUs as `environment` describes them.
pub fn with_gpu(name: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    again(name, folder(), environment);
}

/// Runs `body` where there is no driver, whatever this machine has: files that are none stand in its place.
pub fn without_driver(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let nothing = tempfile::tempdir().unwrap();
    for library in ["libcuda.so", "libcuda.so.1"] {
        std::fs::write(nothing.path().join(library), "no library").unwrap();
    }
    again(name, nothing.path(), &[]);
}

/// The test once more, in a process that looks for libraries in `folder` first.
fn again(name: &str, folder: &Path, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads", "1"]);
    command.env("LD_LIBRARY_PATH", folder).env(INSIDE, folder.join("libkernels.so"));
    let done = command.envs(environment.iter().copied()).output().unwrap();
    let said = [&done.stdout[..], &done.stderr].map(String::from_utf8_lossy).concat();
    assert!(done.status.success() && said.contains("1 passed"), "{name}: {}\n{said}", done.status);
}

/// libcuda.so.1 and libkernels.so.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/host_cuda");
        let (driver, device) = parts(&sources);
        let library = folder.join("libcuda.so.1");
        compile(compiler(&sources).args(["-Wl,-soname,libcuda.so.1", "-o"]).arg(&library).args(driver));
        // Loaders that look for this name first must not find a real one.
        std::os::unix::fs::symlink("libcuda.so.1", folder.join("libcuda.so")).unwrap();
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/kernels.cu");
        let library = folder.join("libkernels.so");
        let mut command = compiler(&sources);
        command.arg("-o").arg(&library).args(["-x", "c++"]).arg(kernels);
        compile(command.args(device).args(["-ldl", "-lm"]));
        folder
    })
}

/// The stand-in's sources: those of the driver, and those that kernels are linked with.
fn parts(sources: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let all = std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path());
    let code = all.filter(|path| path.extension().is_some_and(|e| e == "cpp"));
    let of_driver = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("driver");
    code.partition(of_driver)
}

fn compiler(sources: &Path) -> Command {
    let name = std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| "g++".into());
    let mut command = Command::new(name);
    command.args(["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-shared"]);
    command.arg(format!("-DQWENC_STEP_BYTES={}", size_of::<CudaStep>())).arg("-I").arg(sources);
    command
}

fn compile(command: &mut Command) {
    let done = command.output().expect("no C++ compiler: run scripts/setup.sh, or set CXX");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
