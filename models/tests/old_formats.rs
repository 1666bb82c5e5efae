//! ajc1 and QWEN version 1, written by the test from their descriptions.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::path::PathBuf;

use fixtures::old::*;
use fixtures::*;
use qwenc_ir::WeightSource;
use qwenc_models::{Checkpoint, Hints, Inspection, Look, ModelFile, Source};
use serde_json::Value;

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.bin");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn refused(bytes: &[u8], hints: Hints) -> String {
    let (_dir, path) = written(bytes);
    let error = Source::open(&path, hints).err().expect("must be refused").to_string();
    error.replace(&path.display().to_string(), "FILE")
}

/// The exported file has the old one's integers and scales, and nothing else.
fn check(model: &Model, what: &str, file: &ModelFile) {
    assert_eq!(file.weight_types().to_string(), "i8g32", "{what}");
    let dims = file.config().dims;
    let number = |key: &str| model.config[key].as_u64().unwrap() as u32;
    assert_eq!((dims.head_dim, dims.vocab_rows), (number("head_dim"), number("vocab_size")), "{what}");
    assert_eq!((file.config().tied, file.config().rope.theta), (model.tied, 1e6), "{what}");
    for decl in &file.graph().unwrap().weights {
        for layer in 0..if decl.per_layer() { LAYERS as u32 } else { 1 } {
            let name = decl.tensor_name(layer);
            let values = model.values(name.strip_suffix(".weight").unwrap());
            let tensor = file.tensor(decl, layer).unwrap();
            if decl.shape.len() == 1 {
                assert_eq!(tensor.to_f32(), values, "{what} {name}");
                continue;
            }
            let (integers, scales) = quantised(&values);
            let (mut found, mut steps) = (Vec::new(), Vec::new());
            for row in 0..tensor.rows() {
                found.extend(tensor.row_bytes(row).iter().map(|&b| b as i8));
                steps.extend((0..tensor.cols() / GROUP).map(|g| tensor.scale(row, g)));
            }
            assert!(found == integers && steps == scales, "{what} {name}");
        }
    }
}

#[test]
fn both_headers_of_ajc1_keep_every_integer() {
    for case in ["qwen3-tied", "qwen3-untied-mha"] {
        let model = model(case);
        let mut files = Vec::new();
        for architecture in [None, Some(1)] {
            let (dir, path) = written(&model.ajc1(architecture));
            assert!(Inspection::of(&path).unwrap().problems.is_empty());
            let checkpoint = Checkpoint::open(&path).unwrap();
            check(&model, &format!("{case} {architecture:?}"), &exported_file(&checkpoint, None));
            files.push(exported_file(&checkpoint, None).config().clone());
            drop(dir);
        }
        assert_eq!(files[0], files[1]);
    }
}

#[test]
fn qwen_version_1_is_solved_by_its_size() {
    for case in ["qwen3-tied", "qwen3-untied-mha"] {
        let model = model(case);
        for body in [256, 260] {
            let bytes = model.qwen_v1(body);
            let (_dir, path) = written(&bytes);
            // Sizes this small leave several answers: the message lists them, and hints decide.
            let head_dim = model.config["head_dim"].as_u64().unwrap() as u32;
            let full = Hints {
                head_dim: Some(head_dim),
                group_size: Some(GROUP as u32),
                tied: Some(model.tied),
                body: Some(body as u64),
                tokenizer: None,
            };
            let what = format!("{case} {body}");
            check(&model, &what, &exported_file(&Checkpoint::open_with(&path, full.clone()).unwrap(), None));
            let wrong = Hints { body: Some(516 - body as u64), ..full.clone() };
            assert_eq!(
                refused(&bytes, wrong),
                format!(
                    "FILE: head_dim, group size, tying and body offset are not stored: expected one answer that gives \
                     {} bytes, found none; state what you know, as in --state \
                     head_dim=128",
                    bytes.len()
                )
            );
            assert!(Inspection::of_with(&path, full.clone(), Look::Values).unwrap().problems.is_empty());
            match Checkpoint::open(&path) {
                Ok(alone) => check(&model, &what, &exported_file(&alone, None)),
                Err(several) => {
                    let answer =
                        format!("head_dim {head_dim}, group size 32, tied {}, body at {body}", model.tied);
                    assert!(several.to_string().contains(&answer), "{several}");
                    assert!(several.to_string().contains("; head_dim"), "{several}");
                    assert!(*Inspection::of(&path).unwrap().problems[0] == several.to_string());
                }
            }
        }
    }
}

/// A file with groups of 24, by its header and size alone: every int8 is 1, every float too.
#[test]
fn groups_need_not_be_powers_of_2() {
    let (dim, hidden, head_dim, heads, vocab, group) = (48u64, 72, 12, 2, 10, 24);
    let header = [0x5157_454e, 1, vocab as u32, dim as u32, hidden as u32, 1, heads as u32, 1, 16];
    let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend(1e6f32.to_le_bytes());
    bytes.resize(256, 0);
    let ones = |n: u64| (0..n).flat_map(|_| 1f32.to_le_bytes());
    bytes.extend(ones(3 * dim + 2 * head_dim));
    let (q, kv) = (heads * head_dim, head_dim);
    for matrix in
        [q * dim, kv * dim, kv * dim, dim * q, hidden * dim, dim * hidden, hidden * dim, vocab * dim]
    {
        bytes.extend((0..matrix).map(|_| 1u8));
        bytes.extend(ones(matrix / group));
    }
    let (_dir, path) = written(&bytes);
    let file = exported_file(&Checkpoint::open(&path).unwrap(), None);
    assert_eq!(file.weight_types().to_string(), "i8g24");
}

#[test]
fn what_the_formats_cannot_say_is_refused() {
    let model = model("qwen3-tied");
    let none = Hints::default;
    let changed = |architecture, at: usize, value: u32| {
        let mut file = model.ajc1(architecture);
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refused(&file, none())
    };
    assert_eq!(changed(None, 4, 2), "FILE: ajc1 version 2 is not supported (supported: 1)");
    assert!(changed(Some(1), 8, 2).starts_with("FILE: ajc1 with architecture 2 (Llama)"));
    assert_eq!(
        changed(None, 44, 128),
        "FILE: groups of 128 that cross rows (dim is 64) is not supported (supported: groups that end with rows)"
    );
    assert!(changed(None, 44, 0).contains("group_size: expected 1 to 65536, found 0"));
    assert!(changed(None, 40, 7).contains("shared_classifier: expected 0 or 1, found 7"));
    assert!(changed(None, 8, u32::MAX).contains("hidden_size: expected an integer of 1 to 1048576"));
    assert!(
        changed(None, 16, 1024).starts_with("FILE: expected "),
        "a thousand layers, and the bytes of two"
    );
    let (ajc1, v1) = (model.ajc1(None), model.qwen_v1(260));
    for length in [8, 255, 256, 5000, ajc1.len() - 1] {
        assert!(refused(&ajc1[..length], none()).starts_with("FILE: "), "{length}");
    }
    for length in [8, 255, 256, v1.len() - 1] {
        assert!(refused(&v1[..length], none()).starts_with("FILE: "), "{length}");
    }
    let mut theta = v1.clone();
    theta[36..40].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&theta, none()).contains("rope_theta at offset 36: expected a number above 1, found NaN"));
    let mut state = 99u64;
    for _ in 0..300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for file in [&ajc1, &v1] {
            let mut noisy = file.clone();
            noisy[4 + (state >> 33) as usize % 50] = (state >> 56) as u8;
            let (_dir, path) = written(&noisy);
            // Anything but a panic.
            let _ = Source::open(&path, none());
        }
    }
}

/// Tokens of the sample with scores that fall with their merges: the merges must come back.
#[test]
fn a_vocabulary_of_scores_gives_its_merges_back() {
    let sample = Checkpoint::sample();
    let original: Value =
        serde_json::from_str(sample.side_files().tokenizer_json.as_deref().unwrap()).unwrap();
    let merges: Vec<String> = original["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let (side, rows) = sample_vocabulary();
    let end = u32::from_le_bytes(side[8..12].try_into().unwrap());
    let model = model("qwen3-tied").with_rows(rows);
    let (_dir, path) = written(&model.ajc1(None));
    std::fs::write(format!("{}.tokenizer", path.display()), side).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let found: Value =
        serde_json::from_str(checkpoint.side_files().tokenizer_json.as_deref().unwrap()).unwrap();
    let found_merges: Vec<String> = found["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    assert!(found_merges == merges, "{} merges for {}", found_merges.len(), merges.len());
    assert!(found["model"]["vocab"] == original["model"]["vocab"]);
    let named = |json: &Value| -> Vec<(Value, Value, Value)> {
        let all = json["added_tokens"].as_array().unwrap().iter();
        all.map(|t| (t["id"].clone(), t["content"].clone(), t["special"].clone())).collect()
    };
    assert_eq!(named(&found), named(&original));
    assert!(checkpoint.side_files().stop_tokens.contains(&end));
}
