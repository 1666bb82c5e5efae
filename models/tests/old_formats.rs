//! ajc1 and QWEN version 1, written by the test from their descriptions.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::collections::BTreeMap;
use std::path::PathBuf;

use fixtures::*;
use half::bf16;
use qwenc_ir::WeightSource;
use qwenc_models::{Checkpoint, Hints, Inspection, ModelFile, Source};
use serde_json::{json, Value};

const GROUP: usize = 32;
const LAYERS: usize = 2;
const NORMS: [&str; 2] = ["input_layernorm", "post_attention_layernorm"];
const HEAD_NORMS: [&str; 2] = ["self_attn.q_norm", "self_attn.k_norm"];
/// As both formats have them: down before up.
const MATRICES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.down_proj",
    "mlp.up_proj",
];

/// Tensors of a golden case, its sizes.
struct Model {
    tensors: BTreeMap<String, Raw>,
    config: Value,
    tied: bool,
}

fn model(case: &str) -> Model {
    let (config, tensors) = parts(case);
    let config: Value = serde_json::from_str(&config).unwrap();
    Model { tied: config["tie_word_embeddings"] == json!(true), tensors, config }
}

impl Model {
    fn values(&self, name: &str) -> Vec<f32> {
        let raw = &self.tensors[&format!("{name}.weight")];
        raw.data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    }

    fn sizes(&self, keys: &[&str]) -> Vec<u8> {
        keys.iter().flat_map(|key| (self.config[key].as_u64().unwrap() as u32).to_le_bytes()).collect()
    }

    fn floats(&self, name: &str) -> Vec<u8> {
        self.values(name).iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn in_layers(&self, name: &str) -> Vec<u8> {
        (0..LAYERS).flat_map(|i| self.floats(&format!("model.layers.{i}.{name}"))).collect()
    }

    /// Integers, then scales, groups over the flat tensor.
    fn int8(&self, name: &str) -> Vec<u8> {
        let (integers, scales) = quantised(&self.values(name));
        integers
            .into_iter()
            .map(|q| q as u8)
            .chain(scales.into_iter().flat_map(|s| s.to_le_bytes()))
            .collect()
    }

    fn head(&self) -> Vec<u8> {
        if self.tied {
            Vec::new()
        } else {
            self.int8("lm_head")
        }
    }

    fn ajc1(&self, architecture: Option<u32>) -> Vec<u8> {
        let mut out = [0x616a_6331u32, 1].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        out.extend(architecture.iter().flat_map(|n| n.to_le_bytes()));
        out.extend(self.sizes(&[
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "vocab_size",
            "max_position_embeddings",
            "head_dim",
        ]));
        out.extend([u32::from(self.tied), GROUP as u32].iter().flat_map(|n| n.to_le_bytes()));
        out.resize(256, 0);
        NORMS.iter().for_each(|name| out.extend(self.in_layers(name)));
        out.extend(self.floats("model.norm"));
        HEAD_NORMS.iter().for_each(|name| out.extend(self.in_layers(name)));
        out.extend(self.int8("model.embed_tokens"));
        for name in MATRICES {
            (0..LAYERS).for_each(|i| out.extend(self.int8(&format!("model.layers.{i}.{name}"))));
        }
        out.extend(self.head());
        out
    }

    fn qwen_v1(&self, body: usize) -> Vec<u8> {
        let mut out = [0x5157_454Eu32, 1].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        out.extend(self.sizes(&[
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
        ]));
        out.extend(1e6f32.to_le_bytes());
        out.resize(body, 0);
        NORMS.iter().chain(&HEAD_NORMS).for_each(|name| out.extend(self.in_layers(name)));
        out.extend(self.floats("model.norm"));
        for i in 0..LAYERS {
            MATRICES.iter().for_each(|name| out.extend(self.int8(&format!("model.layers.{i}.{name}"))));
        }
        out.extend(self.int8("model.embed_tokens"));
        out.extend(self.head());
        out
    }
}

fn quantised(values: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let scale = |g: &[f32]| g.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
    let scales: Vec<f32> = values.chunks(GROUP).map(scale).collect();
    let round = |(i, v): (usize, &f32)| (v / scales[i / GROUP]).round_ties_even() as i8;
    (values.iter().enumerate().map(round).collect(), scales)
}

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
            match Checkpoint::open(&path) {
                Ok(alone) => check(&model, &what, &exported_file(&alone, None)),
                Err(several) => {
                    let answer =
                        format!("head_dim {head_dim}, group size 32, tied {}, body at {body}", model.tied);
                    assert!(several.to_string().contains(&answer), "{several}");
                    assert!(several.to_string().contains("; head_dim"), "{several}");
                }
            }
        }
    }
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
    let original: Value = serde_json::from_str(sample.tokenizer_json().unwrap()).unwrap();
    let pair = |m: &Value| match m {
        Value::String(pair) => pair.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    let merges: Vec<String> = original["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    let mut tokens: BTreeMap<u64, (Vec<u8>, f32)> = BTreeMap::new();
    for (token, id) in original["model"]["vocab"].as_object().unwrap() {
        let rank = merges.iter().position(|m| m.replace(' ', "") == *token);
        let score = rank.map_or(-1e6, |r| -((r + 1) as f32).ln());
        tokens.insert(id.as_u64().unwrap(), (token.chars().map(byte).collect(), score));
    }
    for token in original["added_tokens"].as_array().unwrap() {
        let text = token["content"].as_str().unwrap().as_bytes().to_vec();
        tokens.insert(token["id"].as_u64().unwrap(), (text, -1e6));
    }
    let end = tokens.iter().find(|(_, t)| t.0 == b"<|im_end|>").map(|(id, _)| *id as u32).unwrap();
    let mut side: Vec<u8> = [16, 0, end].iter().flat_map(|n: &u32| n.to_le_bytes()).collect();
    for (bytes, score) in tokens.values() {
        side.extend(score.to_le_bytes());
        side.extend((bytes.len() as u32).to_le_bytes());
        side.extend(bytes);
    }
    let mut model = model("qwen3-tied");
    let rows = tokens.len();
    model.config["vocab_size"] = json!(rows);
    let embedding = Raw { dtype: "BF16".to_string(), shape: vec![rows, 64], data: vec![0; rows * 128] };
    model.tensors.insert("model.embed_tokens.weight".to_string(), embedding);
    let (_dir, path) = written(&model.ajc1(None));
    std::fs::write(format!("{}.tokenizer", path.display()), side).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let found: Value = serde_json::from_str(checkpoint.tokenizer_json().unwrap()).unwrap();
    let found_merges: Vec<String> = found["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
    assert!(found_merges == merges, "{} merges for {}", found_merges.len(), merges.len());
    assert!(found["model"]["vocab"] == original["model"]["vocab"]);
    let named = |json: &Value| -> Vec<(Value, Value, Value)> {
        let all = json["added_tokens"].as_array().unwrap().iter();
        all.map(|t| (t["id"].clone(), t["content"].clone(), t["special"].clone())).collect()
    };
    assert_eq!(named(&found), named(&original));
    assert!(checkpoint.stop_tokens().contains(&end));
}

/// GPT-2's letter to its byte.
fn byte(letter: char) -> u8 {
    let plain = |b: &u8| (0x21..=0x7e).contains(b) || (0xa1..=0xac).contains(b) || *b >= 0xae;
    match u32::from(letter) {
        code if code < 0x100 => code as u8,
        code => (0..=255).filter(|b| !plain(b)).nth(code as usize - 0x100).unwrap(),
    }
}
