//! Executables under valgrind: generated code and runtime touch only memory that is theirs, and nothing hangs on
//! a value that was never set, for every weight type and cache type, in shapes that leave remainders everywhere.
//! They are dynamic: in a static executable valgrind does not see what is allocated and freed.
//! What the system maps for cache, scratch and weights counts as one object: what happens within it is for the
//! tests of the kernels.

use std::path::{Path, PathBuf};
use std::process::Command;

use qwenc_tests::program::{qwenc, run};
use qwenc_tests::valgrind::{checked, is_installed, FOUND};
use qwenc_tests::variants::{executable_for, folder};
use qwenc_tests::{golden, odd};

/// valgrind knows no AVX-512.
const CPU: &str = "x86-64-v3";
const KV_TYPES: [&str; 3] = ["f32", "bf16", "int8"];

/// A prompt in unequal steps, then single tokens, by two threads; and every position's logits.
fn check(executable: &Path) {
    let tokens = golden::comma(&(1..=19).collect::<Vec<u32>>());
    let out = folder().join("logits");
    let logits = ["logits", "--tokens", &tokens, "--out", out.to_str().unwrap(), "--threads", "2"];
    checked(executable, &[&logits[..], &["--context", "32", "--chunk", "7"]].concat()).ok();
    for kv in KV_TYPES {
        let generate =
            ["generate", "--tokens", &tokens, "--print-tokens", "--ignore-eos", "--max-tokens", "3"];
        let with = ["--context", "24", "--chunk", "8", "--threads", "2", "--kv-type", kv];
        let said = checked(executable, &[&generate[..], &with].concat());
        assert_eq!(golden::ids_of(&said.clone().ok()).len(), 3, "{kv}: {said:?}");
    }
}

fn check_types(model: impl Fn(&str) -> PathBuf) {
    if is_installed() {
        for quant in ["f32", "bf16", "int8", "int4"] {
            check(&model(quant));
        }
    }
}

#[test]
fn of_the_sample() {
    check_types(|quant| executable_for("sample", &format!("{quant} --dynamic"), CPU));
}

#[test]
fn of_a_model_with_odd_sizes() {
    let checkpoint = odd::checkpoint();
    check_types(|quant| {
        let output = folder().join("qwen");
        let (input, path) = (checkpoint.to_str().unwrap(), output.to_str().unwrap());
        run(&mut qwenc(&["compile", input, "-o", path, "--quant", quant, "--cpu", CPU, "--dynamic"])).ok();
        output
    });
}

/// The checks above rely on this one.
#[test]
fn one_byte_too_far_is_found() {
    if !is_installed() {
        return;
    }
    let folder = folder();
    let (source, program) = (folder.join("far.c"), folder.join("far"));
    let text = "#include <stdlib.h>\nint main(int n, char **v) { volatile char *p = calloc(64, 1); return p[64 * n]; }\n";
    std::fs::write(&source, text).unwrap();
    run(Command::new("cc").arg("-O0").arg(&source).arg("-o").arg(&program)).ok();
    let said = checked(&program, &[]);
    assert!(said.code == Some(FOUND) && said.err.contains("Invalid read"), "{said:?}");
}
