//! `qwenc` is one file: it works from any folder, with no environment but a C compiler and its
//! linker on PATH.

use std::os::unix::fs::symlink;
use std::process::Command;

use qwenc_tests::program::{binary, run, run_with};
use qwenc_tests::variants::{folder, listing};

#[test]
fn a_copy_in_an_empty_folder_compiles_and_its_executables_travel() {
    let (home, tools) = (folder(), folder());
    std::fs::copy(binary(), home.join("qwenc")).unwrap();
    for tool in ["cc", "ld"] {
        let found = run(Command::new("sh").args(["-c", &format!("command -v {tool}")])).ok();
        symlink(found.trim_end(), tools.join(tool)).unwrap();
    }
    let qwenc = |args: &[&str]| {
        run(Command::new(home.join("qwenc")).args(args).env_clear().env("PATH", &tools).current_dir(&home))
            .ok()
    };
    qwenc(&["export", "sample", "--quant", "int8"]);
    qwenc(&["compile", "model.bin"]);
    qwenc(&["compile", "sample", "-o", "other", "--weights", "external"]);
    assert_eq!(listing(&home), ["model.bin", "other", "other.weights", "qwen", "qwenc"]);

    let away = folder();
    for name in ["qwen", "other", "other.weights"] {
        std::fs::rename(home.join(name), away.join(name)).unwrap();
    }
    std::fs::remove_dir_all(&home).unwrap();
    for name in ["qwen", "other"] {
        let executable = |args: &[&str], input: &str| {
            run_with(Command::new(away.join(name)).args(args).env_clear().current_dir("/"), input).ok()
        };
        assert_eq!(executable(&["generate", "-"], "The capital of Brazil is\n"), " Brasília.\n");
        assert!(executable(&["verify"], "").starts_with("ok: "));
    }
}

#[test]
fn without_a_c_compiler_it_says_what_to_install() {
    let home = folder();
    let path = home.join("qwen");
    let mut command = Command::new(binary());
    command.args(["compile", "sample", "-o", path.to_str().unwrap()]).env_clear().env("PATH", "/nowhere");
    let said = run(&mut command).refused(1);
    assert!(said.contains("cannot run `cc`") && said.contains("apt-get install gcc"), "{said}");
    assert!(listing(&home).is_empty());
}
