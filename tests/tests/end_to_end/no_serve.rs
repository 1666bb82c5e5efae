//! Executables without a server: smaller, without the libraries that only a server needs, and otherwise the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use qwenc_tests::golden::say;
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::{executable, folder};
use serde_json::Value;

use crate::cuda::compile;

/// Bytes by which an executable is smaller at least.
const SAVED: u64 = 3_000_000;

fn bytes(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

fn has_server(path: &Path) -> bool {
    let about: Value = serde_json::from_str(&say(path, &["info", "--json"]).ok()).unwrap();
    about["server"].as_bool().unwrap()
}

fn without(flags: &[&str]) -> PathBuf {
    let path = folder().join("qwen");
    let fixed = ["compile", "sample", "--no-serve", "-o", path.to_str().unwrap()];
    run(&mut qwenc(&[&fixed[..], flags].concat())).ok();
    path
}

/// Refuses `serve` by name, and does not offer it.
fn check_refusal(path: &Path) {
    let said = say(path, &["serve", "--port", "0"]).refused(2);
    assert!(said.contains("compiled with --no-serve and has no server; compile the model again"), "{said}");
    let help = say(path, &["--help"]).ok();
    assert!(help.contains("generate") && !help.contains("serve"), "{help}");
}

#[test]
fn an_executable_without_a_server_is_smaller_and_says_the_same() {
    let (with, without) = (executable("sample", "bf16"), without(&["--quant", "bf16"]));
    assert!(bytes(&with) >= bytes(&without) + SAVED, "{} and {}", bytes(&with), bytes(&without));
    let words = ["generate", "The capital of Brazil is"];
    assert_eq!(say(&without, &words).ok(), say(&with, &words).ok());
    check_refusal(&without);
    assert!(has_server(&with) && !has_server(&without));
    assert!(say(&with, &["--help"]).ok().contains("serve --port"));
}

/// Names of source files in messages of panics show which code is left. The C compiler's linker drops those of unused code, but
/// for some that share a section with texts that are used.
#[test]
fn libraries_of_the_server_are_left_out() {
    let with = folder().join("qwen");
    run(&mut qwenc(&["compile", "sample", "--linker", "cc", "-o", with.to_str().unwrap()])).ok();
    let names = |path: &Path| {
        let file = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&file);
        ["/tokio-", "/hyper-", "/llguidance-"].map(|library| text.matches(library).count())
    };
    let (with, without) = (names(&with), names(&without(&["--linker", "cc"])));
    let sum = |counts: [usize; 3]| counts.iter().sum::<usize>();
    assert!(with.iter().all(|count| *count > 0), "{with:?}");
    assert!(10 * sum(without) <= sum(with), "{with:?} and {without:?}");
}

#[test]
fn so_are_those_for_gpus_and_other_outputs_have_no_server_anyway() {
    let paths = [&[][..], &["--no-serve"]].map(|flags| {
        let path = folder().join("qwen");
        let fixed = ["--sm", "90", "-o", path.to_str().unwrap()];
        run(&mut compile(&[&fixed[..], flags].concat())).ok();
        path
    });
    assert!(bytes(&paths[0]) >= bytes(&paths[1]) + SAVED);
    check_refusal(&paths[1]);
    let path = folder().join("out");
    for emit in ["lib", "obj", "plan"] {
        let mut command: Command =
            qwenc(&["compile", "sample", "--no-serve", "--emit", emit, "-o", path.to_str().unwrap()]);
        let said = run(&mut command).refused(2);
        assert!(
            said.contains(&format!("--no-serve goes with --emit exe; --emit {emit} has no server")),
            "{said}"
        );
    }
}
