//! GGUF: vocabularies, settings that must be refused by name, and files that lie.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::collections::BTreeMap;

use fixtures::gguf::*;
use fixtures::gguf_models::*;
use fixtures::stories;
use fixtures::*;
use qwenc_ir::interp::Precision;
use qwenc_ir::Scaling;
use qwenc_models::{Checkpoint, Hints, Inspection, Source};
use serde_json::{json, Value as Json};

fn opened(file: &Gguf) -> Checkpoint {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    Checkpoint::open(&path).unwrap()
}

/// Refusal of these bytes; the path is `FILE`.
fn refused(bytes: &[u8]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    let error = Source::open(&path, Hints::default()).err()?.to_string();
    if let Ok(inspection) = Inspection::of(&path) {
        assert!(!inspection.problems.is_empty(), "inspect finds nothing, open: {error}");
    }
    Some(error.replace(&path.display().to_string(), "FILE"))
}

fn refusal(change: impl Fn(&mut Gguf)) -> String {
    let mut file = stories_file();
    change(&mut file);
    refused(&file.bytes()).expect("must be refused")
}

#[test]
fn the_story_and_its_tokenizer_are_those_of_llama2c() {
    let hints = Hints { tokenizer: Some(stories::path("tok512.bin")), ..Hints::default() };
    let original = Checkpoint::open_with(&stories::path("stories260K.bin"), hints).unwrap();
    let file = opened(&stories_file());
    let logits =
        |c: &Checkpoint| run(c.graph().unwrap(), c, Precision::F64, &[1, 403, 407])["logits"].data.clone();
    assert!(logits(&file) == logits(&original));
    let story = std::fs::read_to_string(stories::path("greedy200.txt")).unwrap();
    let ids = greedy(file.graph().unwrap(), &file, &[1], 200);
    assert_eq!(stories::text(&ids).trim_end(), story.trim_end());
    let tokenizer = |c: &Checkpoint| {
        serde_json::from_str::<Json>(c.side_files().tokenizer_json.as_deref().unwrap()).unwrap()
    };
    assert_eq!(tokenizer(&file), tokenizer(&original));
    assert_eq!(file.side_files().stop_tokens, [2]);
    assert_eq!(
        (file.side_files().bos_token.as_deref(), file.side_files().eos_token.as_deref()),
        (Some("<s>"), None),
        "the template names only the one"
    );
    let exported = exported_file(&file, None);
    assert_eq!(
        (exported.side_files().bos_token.as_deref(), exported.side_files().eos_token.as_deref()),
        (Some("<s>"), None)
    );
    assert_eq!(exported.side_files().chat_template.as_deref(), Some("{{ bos_token }}{{ messages }}"));
    assert_eq!(exported.side_files().named_templates["tool_use"], "{{ tools }}");
}

#[test]
fn a_byte_level_vocabulary_comes_back() {
    let sample = Checkpoint::sample();
    let original: Json =
        serde_json::from_str(sample.side_files().tokenizer_json.as_deref().unwrap()).unwrap();
    let mut by_id: BTreeMap<u64, (String, i32)> = BTreeMap::new();
    for (token, id) in original["model"]["vocab"].as_object().unwrap() {
        by_id.insert(id.as_u64().unwrap(), (token.clone(), 1));
    }
    for token in original["added_tokens"].as_array().unwrap() {
        let kind = if token["special"] == json!(true) { 3 } else { 4 };
        by_id.insert(token["id"].as_u64().unwrap(), (token["content"].as_str().unwrap().to_string(), kind));
    }
    let merge = |m: &Json| match m {
        Json::String(pair) => pair.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    let merges: Vec<String> = original["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    let mut file = stories_file();
    file.values.retain(|(key, _)| !key.starts_with("tokenizer."));
    file.set("tokenizer.ggml.model", text("gpt2"));
    file.set("tokenizer.ggml.pre", text("qwen2"));
    file.set("tokenizer.ggml.tokens", Value::Texts(by_id.values().map(|(t, _)| t.clone()).collect()));
    file.set("tokenizer.ggml.token_type", Value::Ints(by_id.values().map(|(_, k)| *k).collect()));
    file.set("tokenizer.ggml.merges", Value::Texts(merges.clone()));
    let found: Json =
        serde_json::from_str(opened(&file).side_files().tokenizer_json.as_deref().unwrap()).unwrap();
    assert_eq!(found["model"]["vocab"], original["model"]["vocab"]);
    assert_eq!(found["model"]["merges"].as_array().unwrap().iter().map(merge).collect::<Vec<_>>(), merges);
    let named = |json: &Json| -> Vec<(Json, Json, Json)> {
        let all = json["added_tokens"].as_array().unwrap().iter();
        all.map(|t| (t["id"].clone(), t["content"].clone(), t["special"].clone())).collect()
    };
    assert_eq!(named(&found), named(&original));
    for part in ["normalizer", "decoder"] {
        assert_eq!(found[part]["type"], original[part]["type"], "{part}");
    }
    let pattern = |json: &Json| json["pre_tokenizer"]["pretokenizers"][0]["pattern"].clone();
    assert_eq!(pattern(&found), pattern(&original));
    file.set("tokenizer.ggml.pre", text("bloom"));
    assert!(refused(&file.bytes()).unwrap().starts_with(
        "FILE: tokenizer.ggml.pre \"bloom\" is not supported (supported: qwen2, deepseek-r1-qwen, qwen35, llama-bpe, llama3, \
         llama-v3, "
    ));
    // Merges that are no pairs would be dropped in silence elsewhere.
    file.set("tokenizer.ggml.pre", text("qwen2"));
    file.set("tokenizer.ggml.merges", Value::Texts(vec!["ab".to_string()]));
    assert!(refused(&file.bytes())
        .unwrap()
        .contains("merges: expected two pieces with a space between, found \"ab\""));
}

#[test]
fn what_would_run_wrong_is_refused_by_name() {
    let set = |key: &'static str, value: Value| refusal(move |f| f.set(key, value.clone()));
    assert_eq!(
        set("general.architecture", text("qwen3moe")),
        "FILE: architecture \"qwen3moe\" of GGUF is not supported (supported: llama, qwen2, qwen3)"
    );
    assert!(set("llama.expert_count", Value::U32(8)).starts_with("FILE: llama.expert_count is not supported"));
    assert!(set("llama.attention.sliding_window", Value::U32(64)).contains("sliding_window is not supported"));
    assert!(set("llama.rope.scaling.type", text("longrope")).starts_with(
        "FILE: llama.rope.scaling.type \"longrope\" is not supported (supported: none, linear, yarn)"
    ));
    assert!(set("split.count", Value::U32(2)).starts_with("FILE: a model in 2 files is not supported"));
    assert_eq!(
        set("llama.rope.dimension_count", Value::U32(4)),
        "FILE: llama.rope.dimension_count: expected 8, the width of a head, found 4; correct the file"
    );
    assert!(set("general.alignment", Value::U32(48)).contains("general.alignment: expected a power of 2"));
    assert!(set("llama.block_count", text("5")).contains("llama.block_count: expected an integer"));
    assert!(set("llama.block_count", Value::U32(6)).contains("model.layers.5."));
    assert!(
        set("tokenizer.ggml.eos_token_id", Value::U32(512)).contains("expected an id below 512, found 512")
    );
    assert!(set("tokenizer.ggml.token_type", Value::Ints(vec![1]))
        .contains("expected 512 entries, one per token"));
    let factors = |values: [f32; 4]| {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        refusal(move |f| f.add("rope_freqs.weight", &[4], F32, bytes.clone()))
    };
    assert!(factors([1.0, 3.0, 1.0, 2.0])
        .starts_with("FILE: tensor rope_freqs.weight with these factors is not supported"));
    let odd = |kind: u32, name: &str| {
        let message = refusal(|f| f.tensors[0].2 = kind);
        assert!(message.contains(&format!("of type {kind}{name} is not supported")), "{message}");
    };
    odd(6, " (Q5_0)");
    odd(10, " (Q2_K)");
    odd(39, "");
    assert_eq!(
        refusal(|f| f.tensors[0].2 = Q8_0),
        "FILE: tensor blk.0.attn_norm.weight: expected a matrix, since it is quantised, found [64]; correct the file"
    );
}

/// Keys of scaling beside type and factor, and those from before it had a type.
#[test]
fn scaling_in_other_words_is_read_or_refused() {
    for (part, harmless, other) in [
        ("attn_factor", 1.0, 0.5),
        ("yarn_attn_factor", 1.0, 1.5),
        ("yarn_ext_factor", -1.0, 0.0),
        ("yarn_log_multiplier", 0.0, 0.5),
    ] {
        let key = format!("llama.rope.scaling.{part}");
        let message = refusal(|f| f.set(&key, Value::F32(other)));
        assert!(message.starts_with(&format!("FILE: {key} {other} is not supported")), "{message}");
        let mut file = stories_file();
        file.set(&key, Value::F32(harmless));
        assert_eq!(opened(&file).config().rope, opened(&stories_file()).config().rope, "{part}");
    }
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        let mut file = stories_file();
        file.set(key, Value::F32(4.0));
        assert_eq!(opened(&file).config().rope.scaling, Scaling::Linear { factor: 4.0 }, "{key}");
        file.set("llama.rope.scaling.type", text("none"));
        assert_eq!(opened(&file).config().rope.scaling, Scaling::None, "{key}");
    }
    let causal = refusal(|f| f.set("llama.attention.causal", Value::Bool(false)));
    assert!(causal.starts_with("FILE: llama.attention.causal false is not supported"), "{causal}");
}

#[test]
fn files_that_lie_are_refused() {
    let bytes = stories_file().bytes();
    let changed = |at: usize, with: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + with.len()].copy_from_slice(with);
        refused(&changed).expect("must be refused")
    };
    assert_eq!(changed(4, &[1]), "FILE: GGUF version 1 is not supported (supported: 2, 3 (little-endian))");
    for (at, what) in [(8, "number of tensors"), (16, "number of keys"), (24, "key 0")] {
        for lie in [u64::MAX, 1 << 62, bytes.len() as u64] {
            let message = changed(at, &lie.to_le_bytes());
            assert!(message.starts_with(&format!("FILE: {what}: expected")), "{message}");
        }
    }
    let find =
        |text: &str| bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap() + text.len();
    // A list's length, a tensor's axes, its offset.
    assert!(
        changed(find("ggml.scores") + 8, &u64::MAX.to_le_bytes()).contains("ggml.scores: expected at most")
    );
    let tensor = find("blk.0.attn_q.weight");
    assert!(changed(tensor, &[3]).contains("number of axes: expected 1 or 2, found 3"));
    assert!(changed(tensor + 4, &u64::MAX.to_le_bytes())
        .contains("tensor blk.0.attn_q.weight: expected an end within"));
    assert!(changed(tensor + 24, &(1u64 << 40).to_le_bytes()).contains("expected an end within"));
    assert!(changed(tensor + 24, &[1]).contains("offset: expected a multiple of 32, found"));
    let overlap = changed(tensor + 24, &[0; 8]);
    assert!(overlap.ends_with("found the two overlap; correct the file"), "{overlap}");
    let twice = refusal(|f| f.values.push(f.values[0].clone()));
    assert_eq!(twice, "FILE: general.architecture: expected one value, found two; correct the file");
    let names = refusal(|f| f.tensors[1].0 = f.tensors[0].0.clone());
    assert!(names.contains("expected one of that name, found two"), "{names}");
    let extra = refusal(|f| f.add("blk.0.attn_q.bias", &[64], F32, vec![0; 256]));
    assert!(
        extra.contains("says LlamaForCausalLM, but the tensors are those of Qwen2ForCausalLM"),
        "{extra}"
    );
}

#[test]
fn cut_and_noisy_files_never_panic() {
    let bytes = stories_file().bytes();
    let data = bytes.len() - 4 * 260_000;
    let lengths = (4..200).chain((200..data).step_by(997)).chain((data..bytes.len()).step_by(99_991));
    for length in lengths.chain([bytes.len() - 1]) {
        assert!(refused(&bytes[..length]).is_some(), "{length}");
    }
    // Without the long lists, so that noise meets all kinds of fields.
    let mut small = stories_file();
    small.values.retain(|(key, _)| !key.starts_with("tokenizer."));
    small.set("tokenizer.ggml.model", text("llama"));
    small
        .set("tokenizer.ggml.tokens", Value::Texts(vec!["a".to_string(), "b".to_string(), "ab".to_string()]));
    small.set("tokenizer.ggml.scores", Value::Floats(vec![0.0, 0.0, -1.0]));
    let bytes = small.bytes();
    let mut state = 4711u64;
    for _ in 0..1500 {
        let mut noisy = bytes.clone();
        for _ in 0..2 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noisy[4 + (state >> 33) as usize % 4200] = (state >> 56) as u8;
        }
        // Anything but a panic.
        let _ = refused(&noisy);
    }
}
