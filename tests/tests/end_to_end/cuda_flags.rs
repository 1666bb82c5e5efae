//! `--target cuda` refused: flags that make no sense together, and tools that are missing; nothing is written.

use std::process::Command;

use qwenc_tests::nvrtc;
use qwenc_tests::program::{binary, qwenc, run};
use qwenc_tests::variants::{folder, listing};

use crate::cuda::compile;
use crate::shown::refusal;

#[test]
fn flags_that_make_no_sense() {
    let place = folder();
    let refused = |line: &str| {
        let mut command = Command::new(binary());
        command.args(line.split(' ')).env("QWENC_NVRTC", nvrtc::folder()).current_dir(&place);
        refusal(&format!("qwenc {line}"), 2, run(&mut command))
    };
    let refusals = [
        refused("compile sample -o out --target cuda --sm 75"),
        refused("compile sample -o out --target cuda --sm 90,70 --emit plan"),
        refused("compile sample -o out --target cuda --sm 9.0"),
        refused("compile sample -o out --target cuda --sm sm_90"),
        refused("compile sample -o out --target cuda --sm="),
        refused("compile sample -o out --target cuda --cpu native"),
        refused("compile sample -o out --sm 90"),
        refused("compile sample -o out --target cuda --emit llvm-ir"),
        refused("compile sample -o out --target cuda --emit asm"),
        refused("compile sample -o out --target cuda --emit obj"),
        refused("compile sample -o out --emit cuda"),
        refused("compile sample -o out --emit ptx"),
        refused("compile sample -o out --emit cubin"),
        refused("compile sample -o out --emit graph --dynamic"),
        refused("compile sample -o out --emit obj --linker cc"),
    ]
    .concat();
    assert!(listing(&place).is_empty());
    insta::assert_snapshot!(refusals);
}

/// NVRTC says which there are, so the list is that of its version.
#[test]
fn an_architecture_that_nvrtc_does_not_know() {
    let place = folder();
    for emit in ["exe", "ptx", "cubin"] {
        let said =
            run(compile(&["-o", "out", "--sm", "90,95", "--emit", emit]).current_dir(&place)).refused(1);
        let expected = "cannot compile for sm_95; it can for sm_80, ";
        assert!(said.contains("error: NVRTC 13.") && said.contains(expected), "{said}");
    }
    assert!(listing(&place).is_empty());
}

#[test]
fn without_nvrtc_it_says_what_to_install() {
    let (place, empty) = (folder(), folder());
    let in_place = |args: &[&str]| run(compile(args).env("QWENC_NVRTC", &empty).current_dir(&place));
    for args in [&["-o", "out"][..], &["-o", "out", "--emit", "ptx"], &["-o", "out", "--emit", "cubin"]] {
        let said = in_place(args).refused(1);
        assert!(said.contains("NVRTC (libnvrtc.so), which compiles CUDA kernels, was not found"), "{said}");
        assert!(said.contains("`pip install nvidia-cuda-nvrtc`") && said.contains("QWENC_NVRTC"), "{said}");
    }
    assert!(listing(&place).is_empty());
    // What comes before machine code needs none.
    for emit in ["graph", "egraph-dot", "plan", "cuda"] {
        assert_eq!(in_place(&["--emit", emit]).ok(), run(&mut compile(&["--emit", emit])).ok());
    }
    let said = run(compile(&["-o", "out"]).env("QWENC_NVRTC", "/nowhere/libnvrtc.so").current_dir(&place));
    assert!(said.refused(1).contains("QWENC_NVRTC, which names /nowhere/libnvrtc.so"));
    // A file that is there and is no library is told with the system's words.
    let broken = folder().join("libnvrtc.so.13");
    std::fs::write(&broken, "no library").unwrap();
    let said = run(compile(&["-o", "out"]).env("QWENC_NVRTC", &broken).current_dir(&place)).refused(1);
    assert!(said.contains(&format!("{}: loading NVRTC: ", broken.display())), "{said}");
    assert!(listing(&place).is_empty());
}

#[test]
fn a_c_compiler_is_needed_where_it_is_asked_for() {
    let place = folder();
    let compiled = |flags: &[&str]| {
        let mut command = compile(&[&["-o", "out", "--sm", "90"], flags].concat());
        run(command.current_dir(&place).env("CC", "/nowhere/cc").env("PATH", "/nowhere"))
    };
    let said = compiled(&["--linker", "cc"]).refused(1);
    assert!(said.contains("cannot run `/nowhere/cc`") && said.contains("apt-get install gcc"), "{said}");
    assert!(listing(&place).is_empty());
    compiled(&[]).ok();
    compiled(&["--emit", "lib"]).ok();
    assert_eq!(listing(&place), ["out", "qwen.h"]);
    // For the CPU nothing of CUDA is looked at.
    run(qwenc(&["compile", "sample", "--emit", "asm"]).env("QWENC_NVRTC", "/nowhere")).ok();
}

/// NVRTC is two files. Older ones do not say that the second lies beside the first.
#[test]
fn nvrtc_and_its_built_in_functions() {
    let (place, parts) = (folder(), folder());
    let mut library = std::fs::read(nvrtc::folder().join("libnvrtc.so.13")).unwrap();
    let path = library.windows(8).position(|bytes| bytes == b"$ORIGIN\0").unwrap();
    library[path..path + 7].copy_from_slice(b"/absent");
    std::fs::write(parts.join("libnvrtc.so.13"), library).unwrap();
    let compiled = |output: &str| {
        let args = ["--emit", "cubin", "--sm", "90", "-o", output];
        run(compile(&args).env("QWENC_NVRTC", &parts).current_dir(&place))
    };
    let said = compiled("alone").refused(1);
    assert!(said.contains("did not find its built-in functions: expected libnvrtc-builtins.so."), "{said}");
    assert!(listing(&place).is_empty());
    for file in std::fs::read_dir(nvrtc::folder()).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so") {
            std::fs::copy(file.path(), parts.join(file.file_name())).unwrap();
        }
    }
    compiled("both").ok();
    assert!(place.join("both").exists());
}
