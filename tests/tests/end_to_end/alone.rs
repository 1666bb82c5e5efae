//! `qwenc` and what it makes need nothing: `qwenc` compiles where nothing else is installed, and an executable runs in a root
//! folder that holds nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::Endianness;
use qwenc_tests::program::{binary, qwenc, run, run_with};
use qwenc_tests::root::Root;
use qwenc_tests::variants::{executable, folder, listing};
use serde_json::Value;

use crate::served::{question, Served};

/// Loader and shared libraries that an executable names, sorted.
fn needs(path: &Path) -> Vec<String> {
    let data = std::fs::read(path).unwrap();
    let header = FileHeader64::<Endianness>::parse(&*data).unwrap();
    let endian = header.endian().unwrap();
    let mut needs = Vec::new();
    for segment in header.program_headers(endian, &*data).unwrap() {
        if let Some(loader) = segment.interpreter(endian, &*data).unwrap() {
            needs.push(String::from_utf8(loader.to_vec()).unwrap());
        }
    }
    let sections = header.sections(endian, &*data).unwrap();
    if let Some((entries, strings)) = sections.dynamic(endian, &*data).unwrap() {
        let strings = sections.strings(endian, &*data, strings).unwrap();
        for entry in entries.iter().filter(|e| e.tag(endian) == elf::DT_NEEDED) {
            needs.push(String::from_utf8(entry.string(endian, strings).unwrap().to_vec()).unwrap());
        }
    }
    needs.sort();
    needs
}

fn capital(executable: &Path) -> String {
    run(Command::new(executable).args(["generate", "The capital of Brazil is"])).ok()
}

fn compiled(flags: &[&str]) -> PathBuf {
    let path = folder().join("qwen");
    run(&mut qwenc(&[&["compile", "sample", "-o", path.to_str().unwrap()], flags].concat())).ok();
    path
}

/// No C compiler, no linker, no C library to link with, no PATH, no /tmp.
#[test]
fn it_compiles_where_nothing_else_is_installed() {
    let Some(root) = Root::new() else { return };
    root.put_with_libraries(binary(), "/qwenc");
    let said = |args: &[&str]| run(root.command("/qwenc").args(args)).ok();
    said(&["export", "sample", "--quant", "int8", "-o", "/model.bin"]);
    said(&["compile", "model.bin"]);
    assert_eq!(
        run(root.command("/qwen").args(["generate", "The capital of Brazil is"])).ok(),
        " Brasília.\n"
    );
    // Whatever needs the loader finds it here.
    said(&["compile", "sample", "--dynamic", "-o", "/dynamic"]);
    assert_eq!(
        run(root.command("/dynamic").args(["generate", "The capital of Brazil is"])).ok(),
        " Brasília.\n"
    );
    said(&["compile", "sample", "--emit", "lib", "-o", "/libqwen.so"]);

    let refused = run(root.command("/qwenc").args(["compile", "sample", "--linker", "cc"])).refused(1);
    assert!(refused.contains("cannot run `cc`") && refused.contains("leave --linker out"), "{refused}");
}

/// No /dev, no /proc, no /etc, no loader, no other file.
#[test]
fn an_executable_runs_in_an_empty_root_folder() {
    let path = executable("sample", "bf16");
    assert_eq!(needs(&path), [""; 0]);
    let Some(root) = Root::new() else { return };
    root.put(&path, "/qwen");
    let said = |args: &[&str], input: &str| run_with(root.command("/qwen").args(args), input).ok();
    assert_eq!(said(&["generate", "-"], "The capital of Brazil is\n"), " Brasília.\n");
    assert!(said(&["verify"], "").starts_with("ok: "));
    assert!(said(&["info"], "").contains("linked            statically: needs no other file\n"));
    let about: Value = serde_json::from_str(&said(&["info", "--json"], "")).unwrap();
    assert_eq!((about["linked"].as_str(), about["image"].as_str()), (Some("static"), Some("/qwen")));
    // A random seed: from the system call, since there is no /dev/urandom.
    let drawn = |_: usize| said(&["generate", "Once", "--temperature", "3", "--max-tokens", "24"], "");
    let texts: Vec<String> = (0..3).map(drawn).collect();
    assert!(texts[0] != texts[1] || texts[1] != texts[2], "{texts:?}");
    assert_eq!(listing(&root.path("/")), ["qwen"]);
}

#[test]
fn it_serves_from_an_empty_root_folder() {
    let Some(root) = Root::new() else { return };
    root.put(&executable("sample", "bf16"), "/qwen");
    for host in ["127.0.0.1", "localhost"] {
        let mut served = Served::by(root.command("/qwen"), &["--host", host]);
        assert!(served.url.starts_with("http://127.0.0.1:"), "{host}: {}", served.url);
        let answer = served.ok("/v1/chat/completions", &question("What is the capital of Japan?"));
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("Tokyo"), "{host}: {answer}");
        served.signal(libc::SIGTERM);
        assert_eq!(served.wait(), Some(0), "{host}: {}", served.errors());
    }
    let refused = run(root.command("/qwen").args(["serve", "--host", "example.com"])).refused(2);
    assert!(refused.contains("expected an IP address or localhost"), "{refused}");
}

/// The form and the linker change nothing but what an executable needs.
#[test]
fn forms_and_linkers_agree() {
    let mut said = Vec::new();
    for (flags, is_static) in [
        (&["--linker", "wild"][..], true),
        (&["--linker", "cc"], true),
        (&["--linker", "wild", "--dynamic"], false),
        (&["--linker", "cc", "--dynamic"], false),
    ] {
        let path = compiled(flags);
        let needs = needs(&path);
        let shared = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
        assert_eq!(needs.is_empty(), is_static, "{flags:?}: {needs:?}");
        assert!(
            is_static || shared.iter().all(|name| needs.iter().any(|n| n == name)),
            "{flags:?}: {needs:?}"
        );
        let about: Value =
            serde_json::from_str(&run(Command::new(&path).args(["info", "--json"])).ok()).unwrap();
        assert_eq!(about["linked"], if is_static { "static" } else { "dynamic" }, "{flags:?}");
        said.push(capital(&path));
    }
    assert_eq!(said, [" Brasília.\n"; 4]);
}

#[test]
fn external_weights_travel_with_an_executable() {
    let (home, away) = (folder(), folder());
    let output = home.join("other");
    run(&mut qwenc(&["compile", "sample", "-o", output.to_str().unwrap(), "--weights", "external"])).ok();
    assert_eq!(listing(&home), ["other", "other.weights"]);
    for name in ["other", "other.weights"] {
        std::fs::rename(home.join(name), away.join(name)).unwrap();
    }
    let mut command = Command::new(away.join("other"));
    command.args(["generate", "-"]).env_clear().current_dir("/");
    assert_eq!(run_with(&mut command, "The capital of Brazil is\n").ok(), " Brasília.\n");
}

/// Neither the home folder nor cargo's nor this one.
#[test]
fn no_path_of_this_machine_stands_in_an_executable() {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo = std::env::var("CARGO_HOME").unwrap_or(format!("{home}/.cargo"));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_str().unwrap();
    for path in [compiled(&["--cpu", "x86-64-v3"]), compiled(&["--dynamic"])] {
        let bytes = std::fs::read(&path).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("src/"), "the places of panics are there");
        for found in [&format!("{home}/"), &cargo, workspace] {
            assert!(found.len() < 5 || !holds(found), "{}: {found}", path.display());
        }
    }
}
