//! `qwenc compare`: transformers' activations, the interpreter and compiled code agree; a damaged weight is found at the
//! activation that it makes.

use std::path::{Path, PathBuf};

use qwenc_tests::data::folder as case_folder;
use qwenc_tests::forged;
use qwenc_tests::golden::{comma, golden};
use qwenc_tests::program::{qwenc, run, Outcome};
use qwenc_tests::variants::{executable, folder};

use crate::cuda_runs::on_host;
use crate::fixtures::CASES;
use crate::shown::stable;

fn compare(a: &Path, b: &Path, args: &[&str]) -> Outcome {
    run(&mut qwenc(&[&["compare", a.to_str().unwrap(), b.to_str().unwrap()], args].concat()))
}

fn dump(case: &str) -> PathBuf {
    case_folder(case).join("golden.safetensors")
}

/// The figure behind a word of the line about logits.
pub fn figure(text: &str, word: &str) -> f64 {
    let after = text.split(word).nth(1).unwrap_or_else(|| panic!("no {word} in {text}"));
    after.split_whitespace().next().unwrap().trim_end_matches(',').parse().unwrap()
}

/// All cases: transformers against interpreter and executable, which has the activations of its memory.
#[test]
fn transformers_interpreter_and_executable_agree() {
    for case in CASES {
        let program = executable(case, "f32");
        for (b, least) in [(case_folder(case), 27), (program, 13)] {
            let said = compare(&dump(case), &b, &[]).ok();
            assert!(said.contains("no activation is out of line"), "{said}");
            assert!(figure(&said, "NMSE") <= 1e-10, "{case}: {said}");
            let compared = said.lines().find(|l| l.contains(" compared; ")).unwrap();
            let count: usize = compared.split(' ').next().unwrap().parse().unwrap();
            assert!(count >= least, "{case}: {compared}");
        }
    }
}

#[test]
fn what_is_said_of_a_model_and_its_executable() {
    let said = compare(&case_folder("qwen3-tied"), &executable("qwen3-tied", "f32"), &["--tokens", "5,6,7"]);
    let text = stable(&said.ok());
    // Last bits depend on the machine.
    let digits = text.lines().map(|line| match line.split_once(" at ") {
        Some(_) => format!("{} …\n", line.split_whitespace().next().unwrap_or_default()),
        None if line.starts_with("logits: NMSE") => "logits: NMSE …\n".to_string(),
        None => format!("{line}\n"),
    });
    insta::assert_snapshot!(digits.collect::<String>());
}

/// Half of a weight's signs turned: the first activation that it makes is told, in a model as in an executable.
#[test]
fn a_damaged_weight_is_found_where_it_acts() {
    let tied = case_folder("qwen3-tied");
    let damage = |name: &str| {
        forged::with_weights(&tied, name, |bytes| bytes.chunks_exact_mut(4).for_each(|b| b[1] ^= 0x80))
    };
    for (weight, in_model, in_executable) in [
        ("model.layers.1.mlp.gate_proj", "layer.1.gate", "layer.1.out"),
        ("model.layers.0.self_attn.k_proj", "layer.0.k_proj", "layer.0.k_proj"),
        ("model.layers.1.self_attn.o_proj", "layer.1.o_proj", "layer.1.out"),
        ("model.layers.1.input_layernorm", "layer.1.attn_norm", "layer.1.q_proj"),
        ("model.layers.0.self_attn.q_norm", "layer.0.q_norm", "layer.0.q_rope"),
        ("model.norm", "final_norm", "logits"),
    ] {
        let broken = damage(&format!("{weight}.weight"));
        let program = broken.join("qwen");
        let compile =
            ["compile", broken.to_str().unwrap(), "--quant", "f32", "-o", program.to_str().unwrap()];
        run(&mut qwenc(&compile)).ok();
        for (b, place) in [(&broken, in_model), (&program, in_executable)] {
            let found = compare(&dump("qwen3-tied"), b, &[]);
            let verdict = format!("first out of line: {place} (error ");
            assert!(found.out.contains(&verdict), "{weight}: expected {place}: {}", found.out);
            assert_eq!(found.out.matches("  out of line").count(), 1, "{}", found.out);
            assert!(found.refused(1).contains(&format!("differ from {place} on")));
        }
        // Against the healthy executable, by tokens.
        let tokens = comma(&golden("qwen3-tied").tokens);
        let found = compare(&executable("qwen3-tied", "f32"), &program, &["--tokens", &tokens]);
        assert!(found.out.contains(&format!("first out of line: {in_executable} (")), "{}", found.out);
    }
}

/// Rounding of the weights is in line; damage shows through it.
#[test]
fn quantised_models_are_in_line_and_damaged_ones_are_not() {
    let export = |folder: &Path, quant: &str| {
        let path = crate::compare::folder().join("model.bin");
        let args = ["export", folder.to_str().unwrap(), "--quant", quant, "-o", path.to_str().unwrap()];
        run(&mut qwenc(&args)).ok();
        path
    };
    for case in ["qwen3-tied", "qwen2-bias", "llama3-rope"] {
        for quant in ["bf16", "int8", "int4"] {
            let file = export(&case_folder(case), quant);
            let said = compare(&dump(case), &file, &[]).ok();
            assert!(said.contains("no activation is out of line"), "{case} {quant}: {said}");
        }
        let int8 = executable(case, "int8");
        compare(&export(&case_folder(case), "int8"), &int8, &["--tokens", "9,8,7,6"]).ok();
    }
    let broken =
        forged::with_weights(&case_folder("llama3-rope"), "model.layers.1.mlp.down_proj.weight", |b| {
            b.chunks_exact_mut(4).for_each(|b| b[1] ^= 0x80)
        });
    let found = compare(&dump("llama3-rope"), &export(&broken, "int8"), &[]);
    assert!(found.out.contains("first out of line: layer.1.down ("), "{}", found.out);
    found.refused(1);
}

/// A text's tokens come from whoever has a tokenizer.
#[test]
fn texts_are_read_by_either_side() {
    let program = executable("sample", "f32");
    let sample = Path::new("sample");
    for (a, b) in [(sample, program.as_path()), (&program, sample)] {
        let said = compare(a, b, &["--prompt", "The capital of Brazil is"]).ok();
        assert!(said.contains("\n5 tokens;") && said.contains("top-1 agreement 5 of 5"), "{said}");
        // A text may begin as a list does.
        compare(a, b, &["--prompt", "- 5"]).ok();
    }
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (tied, qwen2) = (case_folder("qwen3-tied"), case_folder("qwen2-bias"));
    let refused = |a: &Path, b: &Path, args: &[&str], code| stable(&compare(a, b, args).refused(code));
    let nowhere = folder().join("nowhere");
    let junk = folder().join("junk");
    std::fs::write(&junk, b"#!/bin/sh\nexit 3\n").unwrap();
    let cut = folder().join("cut.safetensors");
    let bytes = std::fs::read(dump("qwen3-tied")).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let messages = [
        refused(&tied, &tied, &[], 2),
        refused(&tied, &tied, &["--tokens", "1", "--prompt", "x"], 2),
        refused(&tied, &tied, &["--prompt", "x"], 1),
        refused(&tied, &tied, &["--tokens", "1,99999"], 1),
        refused(&tied, &qwen2, &["--tokens", "1,2"], 1),
        refused(&dump("qwen3-tied"), &tied, &["--tokens", "1,2"], 2),
        refused(&dump("qwen3-tied"), &tied.join("model.safetensors"), &[], 1),
        refused(&cut, &tied, &[], 1),
        refused(&nowhere, &tied, &["--tokens", "1"], 1),
        refused(&tied, Path::new("sample"), &["--tokens", "1", "--tolerance", "-1"], 2),
    ];
    insta::assert_snapshot!(messages.concat());
    assert!(compare(&junk, &tied, &["--tokens", "1"]).refused(1).contains("junk"));
}

/// On a GPU nothing is left to be read: the logits alone are compared, and the flag is refused by name.
#[test]
fn an_executable_for_gpus_is_compared_by_its_logits() {
    let device = on_host("bf16");
    let said = compare(Path::new("sample"), &device, &["--tokens", "5,6,7,8"]).ok();
    assert!(said.contains("\n1 compared;") && said.contains("top-1 agreement 4 of 4"), "{said}");
    let out = folder().join("x.safetensors");
    let args = ["logits", "--tokens", "1", "--activations", "--out", out.to_str().unwrap()];
    let refused = run(std::process::Command::new(&device).args(args)).refused(2);
    assert!(refused.contains("--activations means nothing here: this executable runs on GPUs"), "{refused}");
}
