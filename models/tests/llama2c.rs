//! llama2.c files of all versions: a trained model that must tell its story, its vocabulary, forged files.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::collections::HashMap;
use std::path::Path;

use fixtures::stories::*;
use fixtures::{exported_file, greedy, run};
use qwenc_ir::interp::Precision;
use qwenc_models::{Checkpoint, Family, Hints, Inspection, Source};
use serde_json::Value;

fn opened(file: &Path) -> Checkpoint {
    Checkpoint::open_with(file, Hints { tokenizer: Some(path("tok512.bin")), ..Hints::default() }).unwrap()
}

fn logits(checkpoint: &Checkpoint) -> Vec<f64> {
    let tokens = [1, 403, 407, 261, 378, 80, 500];
    run(checkpoint.graph().unwrap(), checkpoint, Precision::F64, &tokens)["logits"].data.clone()
}

#[test]
fn the_story_is_told_word_for_word() {
    let checkpoint = opened(&path("stories260K.bin"));
    let config = checkpoint.config();
    assert_eq!((config.family, config.tied, config.eps.get()), (Family::Llama, true, 1e-5));
    assert_eq!((config.dims.kv_heads, config.dims.head_dim, config.rope.theta), (4, 8, 1e4));
    assert_eq!(checkpoint.side_files().stop_tokens, [2]);
    let story = std::fs::read_to_string(path("greedy200.txt")).unwrap();
    let said = text(&greedy(checkpoint.graph().unwrap(), &checkpoint, &[1], 200));
    assert_eq!(said.trim_end(), story.trim_end());
    let file = exported_file(&checkpoint, None);
    assert_eq!(file.weight_types().to_string(), "f32");
    assert!(said.starts_with(&text(&greedy(file.graph().unwrap(), &file, &[1], 60))));
}

/// Header of versions 1 and 2.
fn header(version: u32, group: Option<u32>) -> Vec<u8> {
    let sizes = [DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, CONTEXT].map(|n| n as u32);
    let words = [&[0x616b_3432, version][..], &sizes].concat();
    let mut out: Vec<u8> = words.iter().flat_map(|n| n.to_le_bytes()).collect();
    out.push(1);
    out.extend(group.unwrap_or(0).to_le_bytes());
    out.resize(256, 0);
    out
}

const NORMS: [&str; 3] = ["att_norm", "ffn_norm", "final_norm"];
const MATRICES: [&str; 8] = ["embed", "wq", "wk", "wv", "wo", "w1", "w2", "w3"];

fn floats(names: &[&str]) -> Vec<u8> {
    let tensors = tensors();
    let values = names.iter().flat_map(|name| tensors[name].iter().flatten().copied().collect::<Vec<_>>());
    values.flat_map(|v| v.to_le_bytes()).collect()
}

fn version_1() -> Vec<u8> {
    [header(1, None), floats(&NORMS), floats(&MATRICES)].concat()
}

/// Integers and scales of a matrix.
fn quantised(values: &[f32], group: usize) -> (Vec<i8>, Vec<f32>) {
    let scale = |g: &[f32]| g.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
    let scales: Vec<f32> = values.chunks(group).map(scale).collect();
    let round = |(i, v): (usize, &f32)| (v / scales[i / group]).round() as i8;
    (values.iter().enumerate().map(round).collect(), scales)
}

fn version_2(group: usize) -> Vec<u8> {
    let tensors = tensors();
    let mut out = [header(2, Some(group as u32)), floats(&NORMS)].concat();
    for values in MATRICES.iter().flat_map(|name| &tensors[name]) {
        let (integers, scales) = quantised(values, group);
        out.extend(integers.iter().map(|&q| q as u8));
        out.extend(scales.iter().flat_map(|s| s.to_le_bytes()));
    }
    out
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn version_1_is_the_same_model() {
    let (_dir, file) = written(&version_1());
    assert_eq!(logits(&opened(&file)), logits(&opened(&path("stories260K.bin"))));
}

/// A negative vocabulary: the LM head is a matrix of its own, after all else.
#[test]
fn a_head_of_its_own_is_read() {
    let mut file = std::fs::read(path("stories260K.bin")).unwrap();
    file[20..24].copy_from_slice(&(-(VOCAB as i32)).to_le_bytes());
    let doubled = tensors()["embed"][0].iter().flat_map(|v| (2.0 * v).to_le_bytes()).collect::<Vec<u8>>();
    let (_dir, path) = written(&[file, doubled].concat());
    let untied = opened(&path);
    assert!(!untied.config().tied);
    let expected: Vec<f64> =
        logits(&opened(&fixtures::stories::path("stories260K.bin"))).iter().map(|v| 2.0 * v).collect();
    assert_eq!(logits(&untied), expected);
    let sources = exported_file(&untied, None).sources().unwrap().to_string();
    assert!(sources.contains("tok512.bin") && sources.contains("\"model\""), "{sources}");
}

#[test]
fn a_model_bin_is_not_exported_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bin");
    qwenc_models::export(&Checkpoint::sample(), &path, None, &mut |_, _| {}).unwrap();
    assert!(matches!(Source::open(&path, Hints::default()), Ok(Source::ModelFile(_))));
    let message = Checkpoint::open(&path).err().unwrap().to_string();
    assert!(message.ends_with("expected a checkpoint, found a model.bin; it is exported already: compile it"));
    assert!(matches!(
        Source::open(&fixtures::folder("qwen3-tied"), Hints::default()),
        Ok(Source::Checkpoint(_))
    ));
}

/// Row of q or k that the half-split order has in place `r`.
fn paired(r: usize) -> usize {
    let (head, i) = (r / HEAD_DIM, r % HEAD_DIM);
    head * HEAD_DIM + if i < HEAD_DIM / 2 { 2 * i } else { 2 * (i - HEAD_DIM / 2) + 1 }
}

#[test]
fn version_2_keeps_integers_and_scales() {
    let (group, tensors) = (4, tensors());
    let (_dir, path) = written(&version_2(group));
    let file = exported_file(&opened(&path), None);
    assert_eq!(file.weight_types().to_string(), "i8g4");
    let graph = file.graph().unwrap();
    for (name, own, cols, rotated) in [
        ("self_attn.q_proj", "wq", DIM, true),
        ("self_attn.k_proj", "wk", DIM, true),
        ("self_attn.v_proj", "wv", DIM, false),
        ("mlp.down_proj", "w2", HIDDEN, false),
        ("mlp.up_proj", "w3", DIM, false),
    ] {
        let decl = graph.weights.iter().find(|w| w.name.contains(name)).unwrap();
        let tensor = qwenc_ir::WeightSource::tensor(&file, decl, 3).unwrap();
        let (integers, scales) = quantised(&tensors[own][3], group);
        for r in 0..tensor.rows() {
            let from = if rotated { paired(r) } else { r } * cols;
            let row: Vec<i8> = tensor.row_bytes(r).iter().map(|&b| b as i8).collect();
            assert_eq!(row, integers[from..from + cols], "{name} row {r}");
            for g in 0..cols / group {
                assert_eq!(tensor.scale(r, g), scales[from / group + g], "{name} row {r} group {g}");
            }
        }
    }
    let story = std::fs::read_to_string(fixtures::stories::path("greedy200.txt")).unwrap();
    assert!(story.starts_with(&text(&greedy(graph, &file, &[1], 20))));
}

#[test]
fn versions_that_cannot_be_are_refused() {
    let refusal = |bytes: &[u8]| {
        let (_dir, path) = written(bytes);
        assert!(Inspection::of(&path).map_or(true, |i| !i.problems.is_empty()));
        let message = Source::open(&path, Hints::default()).err().unwrap().to_string();
        message.replace(&path.display().to_string(), "FILE")
    };
    let changed = |at: usize, byte: u8| {
        let mut file = version_2(4);
        file[at] = byte;
        refusal(&file)
    };
    assert_eq!(changed(4, 3), "FILE: llama2.c version 3 is not supported (supported: 0 to 2)");
    assert_eq!(
        changed(36, 2),
        "FILE: shared_classifier at offset 36: expected 0 or 1, found 2; correct the file"
    );
    assert_eq!(changed(37, 0), "FILE: group_size: expected 1 to 65536, found 0; correct the file");
    assert_eq!(
        changed(37, 8),
        "FILE: groups of 8 that cross rows (hidden_dim is 172) is not supported (supported: groups that end with rows)"
    );
    assert!(changed(16, 6).starts_with("FILE: expected "), "one layer more than there is");
    for length in [40, 255, 256, 1000] {
        assert!(refusal(&version_1()[..length]).starts_with("FILE: expected "), "{length}");
    }
    // Without a version nothing but the exact size tells the format.
    let stories = std::fs::read(path("stories260K.bin")).unwrap();
    for length in [0, 3, 27, 28, 1000, stories.len() - 1] {
        assert!(refusal(&stories[..length]).starts_with("FILE: expected a model, found "), "{length}");
    }
    for byte in 0..256 {
        let mut noisy = version_1();
        noisy[8 + byte % 31] = byte as u8 ^ 0x9c;
        let (_dir, path) = written(&noisy);
        // Anything but a panic.
        let _ = Source::open(&path, Hints::default());
    }
}

fn refused_tokenizer(bytes: &[u8]) -> String {
    let (_dir, tokenizer) = written(bytes);
    let hints = Hints { tokenizer: Some(tokenizer.clone()), ..Hints::default() };
    let error = Checkpoint::open_with(&path("stories260K.bin"), hints).err().unwrap();
    error.to_string().replace(&tokenizer.display().to_string(), "FILE")
}

#[test]
fn vocabularies_that_lie_are_refused() {
    let file = std::fs::read(path("tok512.bin")).unwrap();
    let mut long = file.clone();
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        refused_tokenizer(&long),
        "FILE: token 0: expected at most 6215 bytes, found 4294967295; correct the file"
    );
    assert!(refused_tokenizer(&file[..file.len() - 1]).starts_with("FILE: token 511: expected at most"));
    assert!(refused_tokenizer(&[&file[..], &[0; 8]].concat())
        .starts_with("FILE: the vocabulary: expected 512 tokens, as the model has, found more"));
    let mut nan = file;
    nan[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused_tokenizer(&nan).starts_with("FILE: token 0: expected a score, found NaN"));
}

/// llama2.c's own way: a space before, characters or bytes, then the pair whose whole has the best score.
fn encoded(text: &str) -> Vec<u32> {
    let tokens = tokens();
    let ids: HashMap<&[u8], u32> = tokens.iter().zip(0..).map(|((t, _), id)| (&t[..], id)).collect();
    let mut out = Vec::new();
    for c in format!(" {text}").chars() {
        let mut buffer = [0; 4];
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        match ids.get(bytes) {
            Some(&id) => out.push(id),
            None => out.extend(bytes.iter().map(|&b| u32::from(b) + 3)),
        }
    }
    loop {
        let mut best: Option<(f32, usize, u32)> = None;
        for i in 0..out.len().saturating_sub(1) {
            let pair = [&tokens[out[i] as usize].0[..], &tokens[out[i + 1] as usize].0].concat();
            if let Some(&id) = ids.get(&pair[..]) {
                let score = tokens[id as usize].1;
                if best.is_none_or(|(s, ..)| score > s) {
                    best = Some((score, i, id));
                }
            }
        }
        let Some((_, i, id)) = best else { return out };
        out.splice(i..i + 2, [id]);
    }
}

/// BPE as tokenizer.json describes it: the pair that stands first among the merges.
fn encoded_by(json: &Value, text: &str) -> Vec<u32> {
    let model = &json["model"];
    let id = |token: &str| model["vocab"][token].as_u64().map(|n| n as u32);
    let merges = model["merges"].as_array().unwrap();
    let pairs = merges.iter().map(|m| (m[0].as_str().unwrap(), m[1].as_str().unwrap()));
    let ranks: HashMap<(&str, &str), usize> = pairs.zip(0..).collect();
    let mut parts = Vec::new();
    for c in format!("\u{2581}{}", text.replace(' ', "\u{2581}")).chars() {
        match id(&c.to_string()) {
            Some(_) => parts.push(c.to_string()),
            None => parts.extend(c.to_string().bytes().map(|b| format!("<0x{b:02X}>"))),
        }
    }
    loop {
        let rank = |i: usize| ranks.get(&(&parts[i][..], &parts[i + 1][..])).map(|&rank| (rank, i));
        let Some((_, i)) = (0..parts.len().saturating_sub(1)).filter_map(rank).min() else { break };
        let joined = format!("{}{}", parts[i], parts[i + 1]);
        parts.splice(i..i + 2, [joined]);
    }
    parts.iter().map(|p| id(p).unwrap()).collect()
}

#[test]
fn the_tokenizer_joins_as_llama2c_does() {
    let checkpoint = opened(&path("stories260K.bin"));
    let json: Value =
        serde_json::from_str(checkpoint.side_files().tokenizer_json.as_deref().unwrap()).unwrap();
    let story = std::fs::read_to_string(path("greedy200.txt")).unwrap();
    for text in [&story[..], "Once upon a time", "  two  spaces ", "naïve 語 🙂\ttab", ""] {
        assert_eq!(encoded_by(&json, text), encoded(text), "{text:?}");
    }
    assert_eq!(json["post_processor"]["special_tokens"]["<s>"]["ids"], serde_json::json!([1]));
    let added: Vec<_> =
        json["added_tokens"].as_array().unwrap().iter().map(|t| t["content"].as_str()).collect();
    assert_eq!(added, [Some("<unk>"), Some("<s>"), Some("</s>")]);
}
