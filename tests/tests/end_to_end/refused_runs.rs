//! Executables that were damaged, misused or taken to another machine: a clear message, the right exit
//! code, no half-written file.

use std::path::{Path, PathBuf};
use std::process::Command;

use qwenc_tests::golden::say;
use qwenc_tests::program::{qwenc, run, Outcome};
use qwenc_tests::valgrind;
use qwenc_tests::variants::{executable, executable_for, folder, input, listing};

use crate::shown::{refusal, stable};

/// A line of arguments for an executable, refused.
fn refused(executable: &Path, code: i32, line: &str) -> String {
    let args: Vec<&str> = line.split(' ').map(|a| if a == "''" { "" } else { a }).collect();
    refusal(line, code, run(Command::new(executable).args(args).current_dir(folder())))
}

#[test]
fn wrong_arguments() {
    let sample = executable("sample", "bf16");
    let refused = |code: i32, line: &str| refused(&sample, code, line);
    let refusals = [
        refused(2, "generate"),
        refused(2, "generate ''"),
        refused(2, "generate --tokens 1,2048"),
        refused(2, "generate --tokens 1,x"),
        refused(2, "generate x --temperature -1"),
        refused(2, "generate x --temperature warm"),
        refused(2, "generate x --top-p 1.5"),
        refused(2, "generate x --max-tokens -1"),
        refused(2, "generate x --threads 0"),
        refused(2, "generate x --context 0"),
        refused(2, "generate x --context 2049"),
        refused(1, "generate --tokens 1,2,3,4,5 --context 4"),
        refused(2, "logits --tokens 1,2"),
        refused(1, "logits --tokens 1,2 --out nowhere/logits"),
        refused(2, "logits --tokens 1,2 --out ."),
        refused(1, "logits --tokens 1,2 --out /dev/full"),
        refused(2, "chat --think --no-think"),
        refused(2, "run hello"),
    ]
    .concat();
    insta::assert_snapshot!(refusals);
}

#[test]
fn text_without_a_tokenizer() {
    let tied = executable("qwen3-tied", "f32");
    let refusals = [
        refused(&tied, 1, "generate hello"),
        refused(&tied, 1, "chat --prompt hello"),
        refused(&tied, 1, "logits --prompt hello --out logits"),
        refused(&tied, 1, "serve --port 0"),
    ]
    .concat();
    insta::assert_snapshot!(refusals);
}

/// A file of `bytes` that may be run.
fn program(bytes: &[u8]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder().join("qwen");
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn weights_that_are_gone_or_damaged() {
    let good = std::fs::read(executable("qwen3-tied", "f32")).unwrap();
    let stripped = program(&good);
    run(Command::new("strip").arg(&stripped)).ok();
    let external = folder().join("qwen");
    let args = ["compile", &input("qwen3-tied"), "-o", external.to_str().unwrap(), "--weights", "external"];
    run(&mut qwenc(&args)).ok();
    let beside = external.with_file_name("qwen.weights");
    let weights = std::fs::read(&beside).unwrap();
    let with = |bytes: &[u8]| {
        std::fs::write(&beside, bytes).unwrap();
        external.clone()
    };
    // Weights begin some pages before the end; a bit in their middle.
    let mut flipped = weights.clone();
    flipped[weights.len() / 2] ^= 1;
    let other = executable("qwen3-untied-mha", "f32");
    let generate = "generate --tokens 1,2";
    let mut shown = vec![
        ("stripped", say_of(&stripped, generate)),
        ("cut short by a byte", say_of(&program(&good[..good.len() - 1]), generate)),
        ("cut in half", say_of(&program(&good[..good.len() - weights.len() / 2]), generate)),
        ("another model's weights", say_of(&external, &format!("{generate} --weights {}", other.display()))),
        ("a weights file that is none", say_of(&external, &format!("{generate} --weights /dev/null"))),
        ("external weights, beginning cut", say_of(&with(&weights[4096..]), generate)),
        ("external weights, end cut", say_of(&with(&weights[..weights.len() - 4096]), generate)),
        ("external weights, one bit flipped", say_of(&with(&flipped), "verify")),
    ];
    std::fs::remove_file(&beside).unwrap();
    shown.push(("external weights missing", say_of(&external, generate)));
    let refusals = shown.into_iter().map(|(name, done)| refusal(name, 1, done)).collect::<String>();
    insta::assert_snapshot!(refusals);
}

fn say_of(executable: &Path, line: &str) -> Outcome {
    say(executable, &line.split(' ').collect::<Vec<_>>())
}

#[test]
fn a_cpu_that_lacks_instructions() {
    let executable = executable_for("sample", "bf16", "x86-64-v3");
    let on_a_lesser_cpu =
        |args: &[&str]| run(Command::new(&executable).args(args).env("QWENC_HIDE_CPU_FEATURES", "avx2,fma"));
    let refusals = refusal("generate", 1, on_a_lesser_cpu(&["generate", "x"]));
    insta::assert_snapshot!(refusals);
    on_a_lesser_cpu(&["chat", "--prompt", "x"]).refused(1);
    // What it would need can be asked on any CPU.
    assert!(on_a_lesser_cpu(&["info"]).ok().contains("NOT all present"));
    on_a_lesser_cpu(&["verify"]).ok();
}

/// valgrind's CPU has AVX2 but no AVX-512, whatever the machine has.
#[test]
fn a_cpu_without_avx_512() {
    if !valgrind::is_installed() {
        return;
    }
    let under_valgrind = |cpu: &str| {
        let executable = executable_for("qwen3-tied", "f32", cpu);
        let args = ["generate", "--tokens", "1,2,3", "--max-tokens", "2", "--threads", "1"];
        valgrind::plain(executable, &args)
    };
    let said = stable(&under_valgrind("x86-64-v4").refused(1));
    assert!(said.contains("this processor lacks avx512f, avx512bw, avx512cd, avx512dq, avx512vl,"), "{said}");
    assert!(said.contains("--cpu x86-64-v3"), "{said}");
    under_valgrind("x86-64-v3").ok();
}

/// `logits` writes its file whole or not at all.
#[test]
fn a_full_disk() {
    let folder = folder();
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" logits --tokens 1,2,3,4,5,6,7,8,9 --out logits";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(executable("sample", "bf16")).current_dir(&folder);
    let said = run(&mut command).refused(1);
    assert_eq!(said, "error: cannot write logits: File too large (os error 27)\n");
    assert!(listing(&folder).is_empty());
}
