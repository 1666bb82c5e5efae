//! The server and its page by clients that others wrote: OpenAI's and LangChain's, schemathesis, Chromium; and by
//! clients that misbehave. What they need is made by scripts/setup-tests.sh; nothing is skipped where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use qwenc_tests::data::root;
use qwenc_tests::program::run;
use qwenc_tests::variants::{executable, folder};

use crate::served::Served;

/// A path that scripts/setup-tests.sh made.
fn installed(path: impl AsRef<Path>) -> PathBuf {
    let path = root().join(path);
    assert!(path.exists(), "no {}: run scripts/setup-tests.sh", path.display());
    path
}

fn python() -> Command {
    let mut python = Command::new(installed("target/clients/bin/python"));
    python.env("PYTHONDONTWRITEBYTECODE", "1").env("HYPOTHESIS_STORAGE_DIRECTORY", folder());
    python
}

#[test]
fn the_clients_of_others_pass_their_tests() {
    let served = Served::new("bf16", &[]);
    let mut tests = python();
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).arg(root().join("tests/clients"));
    let said = run(tests.current_dir(folder()).env("QWEN_URL", &served.url)).ok();
    let summary = said.lines().last().unwrap_or_default();
    assert!(summary.contains(" passed") && !said.contains("skipped"), "{said}");
}

#[test]
fn clients_that_misbehave_harm_nobody() {
    let faults = root().join("tests/clients/faults.py");
    println!("{}", run(python().arg(faults).arg(executable("sample", "bf16")).args(["--rounds", "3"])).ok());
}

#[test]
fn the_page_passes_its_tests_in_a_browser() {
    let modules = installed("target/page/node_modules/.package-lock.json");
    let browser = installed(std::env::var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into()));
    let served = Served::new("bf16", &[]);
    let mut tests = Command::new("node");
    tests.args(["--test", "--test-reporter", "tap"]);
    for name in ["page", "conversations", "markdown"] {
        tests.arg(root().join(format!("tests/page/{name}.test.mjs")));
    }
    tests.env("PAGE_URL", format!("{}/", served.url)).env("CHROMIUM", browser);
    let place = modules.parent().and_then(Path::parent).unwrap();
    let said = run(tests.env("PAGE_MODULES", place)).ok();
    assert!(said.contains("\n# fail 0\n") && said.contains("\n# skipped 0\n"), "{said}");
}
