//! Files of other programs, the whole way: the model of stories tells its story, quantised GGUF files run as they are.

use std::path::{Path, PathBuf};

use qwenc_tests::data::folder as golden_folder;
use qwenc_tests::golden::{comma, golden, greedy, logits, nmse, say};
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::folder;

use crate::compare::figure;
use crate::fixtures::gguf::{Gguf, Value};
use crate::fixtures::gguf_models::{as_bf16, as_f32, as_q4, as_q4_with_q8, as_q8, case, stories_file, Pack};
use crate::fixtures::stories;

/// An executable of a model, with further flags.
pub fn compiled(model: &Path, flags: &[&str]) -> PathBuf {
    let output = folder().join("qwen");
    let args = ["compile", model.to_str().unwrap(), "-o", output.to_str().unwrap()];
    run(&mut qwenc(&[&args, flags].concat())).ok();
    output
}

pub fn written(file: &Gguf) -> PathBuf {
    let path = folder().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    path
}

/// The vocabulary of the llama2.c file, as `--state` takes it.
fn vocabulary() -> String {
    format!("tokenizer={}", stories::path("tok512.bin").display())
}

#[test]
fn the_story_is_told_word_for_word() {
    let story = std::fs::read_to_string(stories::path("greedy200.txt")).unwrap();
    let vocabulary = vocabulary();
    let [exported, migrated] = [folder(), folder()].map(|folder| folder.join("model.bin"));
    let file = stories::path("stories260K.bin");
    let state = ["--state", &vocabulary];
    for (command, output) in [("export", &exported), ("migrate", &migrated)] {
        let args = [command, file.to_str().unwrap(), "-o", output.to_str().unwrap()];
        run(&mut qwenc(&[&args[..], &state].concat())).ok();
    }
    let sources: [(&str, PathBuf, &[&str]); 4] = [
        ("llama2.c", file, &state),
        ("model.bin", exported, &[]),
        ("a migrated model.bin", migrated, &[]),
        ("GGUF", written(&stories_file()), &[]),
    ];
    for (format, model, flags) in sources {
        let program = compiled(&model, flags);
        let said = say(&program, &["generate", "", "--max-tokens", "200"]).ok();
        assert_eq!(said.trim_end(), story.trim_end(), "{format}");
        // The space before the first word is the vocabulary's, not the text's; one within a text is.
        assert!(said.starts_with("Once upon"), "{format}: {said:?}");
        let goes_on = say(&program, &["generate", "Once upon", "--max-tokens", "20"]).ok();
        assert!(story.starts_with(&format!("Once upon{}", goes_on.trim_end())), "{format}: {goes_on:?}");
        let compare =
            ["compare", model.to_str().unwrap(), program.to_str().unwrap(), "--tokens", "1,403,407,261"];
        let compared = run(&mut qwenc(&[&compare[..], flags].concat())).ok();
        assert!(figure(&compared, "NMSE") <= 1e-10, "{format}: {compared}");
    }
}

/// Matrices stay in the type that the file has: what is compiled says what the interpreter says of the same file.
#[test]
fn gguf_of_every_family_runs_as_it_is() {
    for name in ["qwen3-tied", "qwen2-bias", "llama3-rope"] {
        let golden = golden(name);
        let packs: [(&str, Pack, f64); 3] =
            [("bf16", &as_bf16, 1e-10), ("int8", &as_q8, 3e-3), ("int4", &as_q4_with_q8, 0.2)];
        for (weights, pack, limit) in packs {
            // Blocks of Q8_0 and Q4_0 are 32 values; this case's rows are not.
            if name == "qwen2-bias" && weights != "bf16" {
                continue;
            }
            let mut model = case(name, pack);
            model.set("general.name", Value::Text(format!("A {name}")));
            let file = written(&model);
            let program = compiled(&file, &[]);
            let info = say(&program, &["info"]).ok();
            assert!(info.contains(&format!("weights           {weights}")), "{name}: {info}");
            assert!(info.starts_with(&format!("model             A {name} (")), "{name}: {info}");
            let version = say(&program, &["--version"]).ok();
            assert!(version.trim_end().ends_with(&format!("model A {name}, {weights}")), "{version}");
            let error = nmse(&logits(&program, &golden.tokens, &[]), &golden.logits);
            println!("{name} {weights}: NMSE {error:.2e}");
            assert!(error <= limit, "{name} {weights}: NMSE {error:.2e}");
            let tokens = comma(&golden.tokens);
            let paths = [file.to_str().unwrap(), program.to_str().unwrap()];
            let same = run(&mut qwenc(&["compare", paths[0], paths[1], "--tokens", &tokens])).ok();
            assert!(figure(&same, "NMSE") <= 2e-3, "{name} {weights}: {same}");
            if weights == "bf16" {
                let said = greedy(&program, &golden.tokens, &["--max-tokens", "24", "--ignore-eos"]);
                assert_eq!(said, golden.generated, "{name}");
            }
        }
    }
}

/// Matrices of four types in every layer: each is compiled as it is stored.
#[test]
fn a_mixture_of_types_runs_as_it_is() {
    let golden = golden("qwen3-tied");
    let pack = |name: &str, values: &[f32]| match name {
        _ if name.contains("o_proj") => as_f32(name, values),
        _ if name.contains("down_proj") => as_q8(name, values),
        _ if name.contains("embed") => as_bf16(name, values),
        _ => as_q4(name, values),
    };
    let file = written(&case("qwen3-tied", &pack));
    let exported = folder().join("model.bin");
    let paths = [&file, &exported].map(|path| path.to_str().unwrap());
    let said = run(&mut qwenc(&["export", paths[0], "-o", paths[1]])).err;
    let types =
        "f32 (2 matrices), int4 in groups of 32 (10), bf16 (1), int8 in groups of 32 with f16 scales (2)";
    assert!(said.contains(types), "{said}");
    let checked = run(&mut qwenc(&["verify", paths[1], "--against", paths[0]])).ok();
    assert!(checked.ends_with("everything checked is right\n"), "{checked}");
    let program = compiled(&exported, &[]);
    let same = run(&mut qwenc(&[
        "compare",
        paths[1],
        program.to_str().unwrap(),
        "--tokens",
        &comma(&golden.tokens),
    ]))
    .ok();
    assert!(figure(&same, "NMSE") <= 2e-3, "{same}");
}

/// Q4_K and Q6_K, in one file by layers and within q, k and v, keep their integers and scales: near transformers' logits of the
/// same weights, and in an image little larger than the file's tensors.
#[test]
fn k_quants_are_read_as_they_are() {
    // Bytes of the files' tensors: 12 and 3 matrices in Q4_K and Q6_K, or 15 in Q6_K, and norms.
    for (name, weights, tensors) in [("gguf-q4_k_m", "q4_k", 819_456.0), ("gguf-q6_k", "q6_k", 1_081_344.0)] {
        let (golden, file) = (golden(name), golden_folder(name).join("model.gguf"));
        let program = compiled(&file, &[]);
        let info: serde_json::Value = serde_json::from_str(&say(&program, &["info", "--json"]).ok()).unwrap();
        assert_eq!(info["model"]["weight_type"], weights, "{name}");
        let ratio = info["memory_bytes"]["weights"].as_f64().unwrap() / tensors;
        println!("{name}: image {ratio:.4} of the file's tensors");
        assert!((1.0..=1.03).contains(&ratio), "{name}: {ratio}");
        for (flags, limit) in [(&[][..], 1e-3), (&["--activations", "f32"], 1e-6)] {
            let exact_cache = [&["--kv-type", "f32"][..], flags].concat();
            let program = if flags.is_empty() { program.clone() } else { compiled(&file, &exact_cache) };
            let error = nmse(&logits(&program, &golden.tokens, &[]), &golden.logits);
            println!("{name} {flags:?}: NMSE {error:.2e}");
            assert!(error <= limit, "{name} {flags:?}: NMSE {error:.2e}");
        }
    }
}
