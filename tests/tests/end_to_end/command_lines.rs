//! Features of every command line: `--version`, `--quiet`, `--verbose`, completions, man pages, and the flags that users of other
//! programs type.

use qwenc_tests::golden::say;
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::{executable, folder, listing};

#[test]
fn an_executable_says_what_it_is() {
    let version = say(&executable("sample", "bf16"), &["--version"]).ok();
    assert!(version.starts_with("sample-bf16-native (qwenc 0.1.0), for CPU "), "{version}");
    assert!(version.trim_end().ends_with("bf16") && version.lines().count() == 1, "{version}");
}

#[test]
fn flags_of_other_programs_are_understood() {
    let program = executable("sample", "bf16");
    let expected =
        say(&program, &["generate", "The capital of Brazil is", "--max-tokens", "3", "--seed", "1"]);
    let words = [
        "generate",
        "-p",
        "The capital of Brazil is",
        "-n",
        "3",
        "-s",
        "1",
        "-t",
        "1",
        "-c",
        "64",
        "--temp",
        "0",
    ];
    assert_eq!(say(&program, &words).ok(), expected.ok());
    let long = ["generate", "--prompt", "x", "--n-predict", "1", "--threads", "1", "--ctx-size", "64"];
    assert_eq!(say(&program, &long).code, Some(0));
    let said = say(&program, &["-m", "other.gguf", "generate", "x"]).refused(2);
    assert!(said.contains("the model is in this executable already"), "{said}");
}

#[test]
fn quiet_leaves_notes_out_and_verbose_shows_phases() {
    let program = executable("sample", "bf16");
    let full = ["generate", "The capital of", "--context", "5", "--ignore-eos"];
    assert!(say(&program, &full).err.contains("note: "));
    assert_eq!(say(&program, &[&full[..], &["-q"]].concat()).err, "");
    let said = say(&program, &["-v", "generate", "x", "-n", "1"]).err;
    assert!(
        said.contains("opening the weights image: ") && said.contains("starting the threads: "),
        "{said}"
    );

    let file = folder().join("qwen");
    let compile = ["compile", "sample", "--cpu", "x86-64-v2", "-o", file.to_str().unwrap()];
    let quiet = run(&mut qwenc(&[&compile[..], &["--quiet"]].concat()));
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (Some(0), "", ""));
    let said = run(&mut qwenc(&[&["-v"][..], &compile[..]].concat())).err;
    assert!(
        ["optimising: ", "generating code: ", "linking: ", "packing: "].iter().all(|w| said.contains(w)),
        "{said}"
    );
    assert_eq!(run(&mut qwenc(&["-q", "-v", "inspect", "sample"])).code, Some(2));
    assert!(run(&mut qwenc(&["-q", "inspect", "/nowhere"])).refused(1).contains("/nowhere"));
}

#[test]
fn completions_and_man_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&mut qwenc(&["completions", shell])).ok();
        assert!(script.contains("compile") && script.contains("exe-cache-size"), "{shell}: {script}");
    }
    let script = folder().join("qwenc.bash");
    std::fs::write(&script, run(&mut qwenc(&["completions", "bash"])).ok()).unwrap();
    // Bash itself reads the script and completes a flag.
    let ask = format!(
        "source {}; COMP_WORDS=(qwenc compile --qu); COMP_CWORD=2; _qwenc qwenc --qu compile; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let said = run(std::process::Command::new("bash").args(["--norc", "-c", &ask])).ok();
    assert!(said.contains("--quant"), "{said}");

    let page = run(&mut qwenc(&["man"])).ok();
    assert!(page.starts_with(".ie") || page.contains(".TH qwenc 1"), "{page}");
    let place = folder().join("man1");
    run(&mut qwenc(&["man", place.to_str().unwrap()])).ok();
    let names = listing(&place);
    for name in ["qwenc.1", "qwenc-compile.1", "qwenc-run.1", "qwenc-cache-list.1"] {
        assert!(names.iter().any(|n| n == name), "{name} of {names:?}");
    }
    assert!(std::fs::read_to_string(place.join("qwenc-compile.1")).unwrap().contains("Examples"));
}
