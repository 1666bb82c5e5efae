//! Events that must not end a program, and files that it must not destroy.

use std::fs::File;
use std::process::{Command, Stdio};

use qwenc_tests::program::{binary, run, run_with};
use qwenc_tests::variants::{executable, folder};

#[test]
fn a_question_too_long_for_the_context_is_dropped() {
    let long = "What is the capital of Brazil? ".repeat(20);
    let lines = format!("{long}\nWhat is the capital of Brazil?\n");
    let args = ["chat", "--no-think", "--temperature", "0", "--context", "60"];
    let done = run_with(Command::new(executable("sample", "bf16")).args(args), &lines);
    assert!(done.err.contains("context"), "{}", done.err);
    assert_eq!(done.ok(), "The capital of Brazil is Brasília.\n");
}

#[test]
fn logits_never_replace_the_program_or_its_weights() {
    let place = folder();
    let own = place.join("own");
    std::fs::copy(executable("sample", "bf16"), &own).unwrap();
    let before = own.metadata().unwrap().len();
    let args = ["logits", "--tokens", "1,2", "--out", "own"];
    run(Command::new(&own).args(args).current_dir(&place)).refused(2);
    assert_eq!(own.metadata().unwrap().len(), before);
}

#[test]
fn a_closed_standard_error_is_no_failure() {
    let out = folder().join("quiet");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(binary());
    command.args(["compile", "sample", "-o"]).arg(&out).stdout(Stdio::null()).stderr(full);
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert!(out.exists());
}
