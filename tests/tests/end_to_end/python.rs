//! The Python package: its wheel is built, installed, type-checked and tested against the sample.

use std::path::PathBuf;
use std::process::Command;

use qwenc_tests::data::root;
use qwenc_tests::program::run;
use qwenc_tests::variants::{executable, folder};

use crate::c_api::library;

/// The Python that scripts/setup-tests.sh made; none where it was not run, which is said aloud, and refused where nothing may
/// be skipped.
fn python() -> Option<PathBuf> {
    let python = root().join("target/python/bin/python");
    if python.exists() {
        return Some(python);
    }
    let whole = std::env::var_os("QWENC_TESTS_SKIP_NOTHING").is_some();
    assert!(!whole, "no {}; run scripts/setup-tests.sh", python.display());
    println!("SKIPPED: no {} (scripts/setup-tests.sh makes it)", python.display());
    None
}

#[test]
fn the_wheel_passes_its_tests() {
    let Some(python) = python() else { return };
    let (place, library) = (folder(), library(&["--quant", "bf16"]));
    let wheel = run(Command::new(root().join("scripts/wheel.sh")).arg(&place)).ok();
    let installed = place.join("installed");
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
        "--target",
    ];
    run(Command::new(&python).args(pip).arg(&installed).arg(wheel.trim())).ok();
    assert!(installed.join("qwenc/py.typed").exists(), "types are part of the wheel");
    let mut tests = Command::new(&python);
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).arg(root().join("runtime/python/tests"));
    tests.env("PYTHONPATH", &installed).env("QWEN_PACKAGE", &installed).env("PYTHONDONTWRITEBYTECODE", "1");
    tests
        .env("QWEN_LIBRARY", library.join("libqwen.so"))
        .env("QWEN_EXECUTABLE", executable("sample", "bf16"));
    let said = run(tests.current_dir(&place)).ok();
    assert!(said.contains(" passed") && !said.contains("skipped"), "{said}");
}

#[test]
fn the_package_and_the_program_of_clients_are_typed() {
    let Some(python) = python() else { return };
    let mut faults = Command::new(&python);
    faults.args(["-m", "mypy", "--cache-dir", "/dev/null", "--strict"]);
    run(faults.arg(root().join("tests/clients/faults.py"))).ok();
    let mut check = Command::new(python);
    check.args(["-m", "mypy", "--cache-dir", "/dev/null", "--config-file", "pyproject.toml"]);
    run(check.current_dir(root().join("runtime/python")).env("MYPYPATH", "src")).ok();
}
