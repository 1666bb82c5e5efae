//! The same input gives the same bytes, at every level; and where the weights lie changes no answer.

use std::path::Path;

use qwenc_tests::golden::{golden, logits};
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::{executable, folder, input, listing};

/// Runs the command twice in different folders, `{}` in it being the output; compares all files.
fn check(args: &[&str]) {
    let folders = [folder(), folder()];
    for folder in &folders {
        let output = folder.join("out");
        let args: Vec<&str> =
            args.iter().map(|a| if *a == "{}" { output.to_str().unwrap() } else { a }).collect();
        run(&mut qwenc(&args)).ok();
    }
    let names = listing(&folders[0]);
    assert!(!names.is_empty() && names == listing(&folders[1]), "{args:?}: {names:?}");
    for name in names {
        let [a, b] = folders.each_ref().map(|f| std::fs::read(f.join(&name)).unwrap());
        assert!(!a.is_empty() && a == b, "{args:?}: {name} differs from run to run");
    }
}

#[test]
fn exported_files() {
    for quant in ["f32", "bf16", "int8"] {
        check(&["export", "sample", "-o", "{}", "--quant", quant]);
    }
    check(&["export", &input("qwen3-untied-mha"), "-o", "{}"]);
}

#[test]
fn executables_with_their_weights() {
    for quant in ["f32", "bf16", "int8"] {
        check(&["compile", "sample", "-o", "{}", "--quant", quant]);
    }
    check(&["compile", "sample", "-o", "{}", "--weights", "external"]);
}

#[test]
fn every_level_in_between() {
    for emit in ["graph", "egraph-dot", "plan", "llvm-ir", "asm", "obj"] {
        check(&["compile", "sample", "-o", "{}", "--quant", "int8", "--emit", emit]);
    }
}

/// A folder, its model.bin, and either place of the weights: the same code and the same weights.
#[test]
fn the_way_does_not_matter() {
    let folder = folder();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (model, direct) = (path("model.bin"), executable("qwen3-tied", "int8"));
    run(&mut qwenc(&["export", &input("qwen3-tied"), "-o", &model, "--quant", "int8"])).ok();
    run(&mut qwenc(&["compile", &model, "-o", &path("embedded")])).ok();
    run(&mut qwenc(&["compile", &model, "-o", &path("external"), "--weights", "external"])).ok();
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    assert!(bytes(&folder.join("embedded")) == bytes(&direct), "a folder is compiled as its model.bin is");

    let tokens = golden("qwen3-tied").tokens;
    let expected = logits(&direct, &tokens, &[]);
    assert_eq!(logits(&folder.join("external"), &tokens, &[]), expected);
    std::fs::rename(folder.join("external.weights"), folder.join("moved")).unwrap();
    assert_eq!(logits(&folder.join("external"), &tokens, &["--weights", &path("moved")]), expected);
}
