//! Damaged, forged and foreign models: each is refused by `export` and `compile` with a clear message
//! and exit code 1, and leaves nothing behind.

use std::path::{Path, PathBuf};

use qwenc_tests::data;
use qwenc_tests::program::{qwenc, run, Outcome};
use qwenc_tests::variants::{folder, listing};
use qwenc_tests::{forged, variants};
use serde_json::json;

use crate::shown::refusal;

/// The outcome of a command whose output is to be `name` in an empty folder, which must stay empty.
pub fn in_vain(command: &str, model: &Path, name: &str) -> Outcome {
    let outputs = folder();
    let output = outputs.join(name);
    let done = run(&mut qwenc(&[command, model.to_str().unwrap(), "-o", output.to_str().unwrap()]));
    assert!(listing(&outputs).is_empty(), "{}: left {:?}", done.err, listing(&outputs));
    done
}

/// One refusal per folder; `export` and `compile` must agree.
fn check_folders(folders: &[(&str, PathBuf)]) -> String {
    let one = |(name, path): &(&str, PathBuf)| {
        let exported = refusal(name, 1, in_vain("export", path, "model.bin"));
        assert_eq!(exported, refusal(name, 1, in_vain("compile", path, "qwen")));
        exported
    };
    folders.iter().map(one).collect()
}

/// One refusal per model.bin.
fn check_files(files: &[(&str, Vec<u8>)]) -> String {
    let one = |(name, bytes): &(&str, Vec<u8>)| {
        let path = folder().join("model.bin");
        std::fs::write(&path, bytes).unwrap();
        refusal(name, 1, in_vain("compile", &path, "qwen"))
    };
    files.iter().map(one).collect()
}

/// A small good one.
fn model_bin() -> Vec<u8> {
    let path = folder().join("model.bin");
    run(&mut qwenc(&["export", &variants::input("qwen3-tied"), "-o", path.to_str().unwrap()])).ok();
    std::fs::read(path).unwrap()
}

#[test]
fn damaged_files() {
    let good = model_bin();
    let middle = good.len() / 2;
    let flipped = forged::with_bytes(&good, middle, &[good[middle] ^ 0x10]);
    let refusals = check_files(&[
        ("empty", Vec::new()),
        ("cut in the header", good[..100].to_vec()),
        ("cut in the tensors", good[..middle].to_vec()),
        ("one bit flipped", flipped),
        ("longer than stated", [&good[..], b"more"].concat()),
        ("wrong magic", forged::with_bytes(&good, 0, b"GGUF")),
        ("version 9", forged::with_bytes(&good, 4, &[9])),
        ("other layers than config.json", forged::with_bytes(&good, 20, &[9])),
    ]);
    insta::assert_snapshot!(refusals);
}

#[test]
fn forged_files() {
    let good = model_bin();
    let norm = "model.norm.weight";
    let oversized = forged::sealed(forged::with_bytes(&good, 256, &u64::MAX.to_le_bytes()));
    let refusals = check_files(&[
        ("oversized header", oversized),
        (
            "overlapping tensors",
            forged::with_image_header(&good, |h| {
                for i in 0..2 {
                    let at = h[norm]["data_offsets"][i].as_u64().unwrap();
                    h[norm]["data_offsets"][i] = json!(at - 4);
                }
            }),
        ),
        (
            "a tensor past the end",
            forged::with_image_header(&good, |h| {
                h["huge"] = json!({"dtype": "I8", "shape": [u64::MAX], "data_offsets": [0, u64::MAX]});
            }),
        ),
        (
            "a tensor with another name",
            forged::with_image_header(&good, |h| {
                let entry = h.as_object_mut().unwrap().remove(norm).unwrap();
                h["model.norm.weigth"] = entry;
            }),
        ),
    ]);
    insta::assert_snapshot!(refusals);
}

#[test]
fn foreign_checkpoints() {
    let tied = data::folder("qwen3-tied");
    let with = |key: &'static str, value: serde_json::Value| {
        forged::with_config(&tied, move |config| config[key] = value.clone())
    };
    let named = |architecture: &'static str, model_type: &'static str| {
        forged::with_config(&tied, move |config| {
            config["architectures"] = json!([architecture]);
            config["model_type"] = json!(model_type);
        })
    };
    let refusals = check_folders(&[
        ("unknown architecture", named("MambaForCausalLM", "mamba")),
        ("mixture of experts", named("Qwen3MoeForCausalLM", "qwen3_moe")),
        ("unknown rope type", with("rope_scaling", json!({"rope_type": "spiral", "factor": 2.0}))),
        ("unknown activation", with("hidden_act", json!("gelu"))),
        ("heads that cannot be shared", with("num_key_value_heads", json!(3))),
        ("a size of zero", with("hidden_size", json!(0))),
        ("a size past all reason", with("vocab_size", json!(1u64 << 40))),
    ]);
    insta::assert_snapshot!(refusals);
}

#[test]
fn incomplete_checkpoints() {
    let tied = data::folder("qwen3-tied");
    let garbage = forged::copy(&tied);
    std::fs::write(garbage.join("config.json"), "{\"hidden_size\": ").unwrap();
    let no_config = forged::copy(&tied);
    std::fs::remove_file(no_config.join("config.json")).unwrap();
    let no_weights = forged::copy(&tied);
    std::fs::remove_file(no_weights.join("model.safetensors")).unwrap();
    let cut = forged::copy(&tied);
    let weights = std::fs::read(cut.join("model.safetensors")).unwrap();
    std::fs::write(cut.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let shards = forged::copy(&no_weights);
    let index = json!({"weight_map": {
        "model.norm.weight": "model-00001-of-00002.safetensors",
        "model.embed_tokens.weight": "model-00002-of-00002.safetensors",
    }});
    std::fs::write(shards.join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::write(shards.join("model-00001-of-00002.safetensors"), &weights).unwrap();
    let refusals = check_folders(&[
        ("garbage for a config.json", garbage),
        ("no config.json", no_config),
        ("no weights", no_weights),
        ("weights cut short", cut),
        ("a shard missing", shards),
        ("a tensor missing", forged::without_last_tensor(&tied).0),
        ("no such folder", folder().join("Qwen3-0.6B")),
    ]);
    insta::assert_snapshot!(refusals);
}

/// Files that people try who know other tools.
#[test]
fn files_that_are_no_model_bin() {
    let refused = |name: &str, path: PathBuf| refusal(name, 1, in_vain("compile", &path, "qwen"));
    let gguf = folder().join("model.gguf");
    std::fs::write(&gguf, b"GGUF\x03\0\0\0").unwrap();
    let refusals = [
        refused("a file of a checkpoint", data::folder("qwen3-tied").join("model.safetensors")),
        refused("a GGUF file", gguf),
        refused("an executable", variants::executable("qwen3-tied", "f32")),
        refused("a name", PathBuf::from("Qwen/Qwen3-0.6B")),
    ]
    .concat();
    insta::assert_snapshot!(refusals);
}
