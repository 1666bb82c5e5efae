//! GGUF: tokens around a prompt, ways to split text, and values of Q4_1.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::gguf::*;
use fixtures::gguf_models::*;
use fixtures::*;
use half::f16;
use qwenc_ir::WeightSource;
use qwenc_models::Checkpoint;
use serde_json::{json, Value as Json};

fn opened(file: &Gguf) -> Result<Checkpoint, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    Checkpoint::open(&path).map_err(|e| e.to_string())
}

fn tokenizer(file: &Gguf) -> Json {
    serde_json::from_str(opened(file).unwrap().side_files().tokenizer_json.as_deref().unwrap()).unwrap()
}

/// The model of stories with a small byte-level vocabulary: `a`, `b`, a bos and an eos.
fn byte_level(pre: &str) -> Gguf {
    let mut file = stories_file();
    file.values.retain(|(key, _)| !key.starts_with("tokenizer."));
    file.set("tokenizer.ggml.model", text("gpt2"));
    file.set("tokenizer.ggml.pre", text(pre));
    let tokens = ["a", "b", "ab", "<s>", "</s>"].map(str::to_string);
    file.set("tokenizer.ggml.tokens", Value::Texts(tokens.to_vec()));
    file.set("tokenizer.ggml.token_type", Value::Ints(vec![1, 1, 1, 3, 3]));
    file.set("tokenizer.ggml.merges", Value::Texts(vec!["a b".to_string()]));
    file.set("tokenizer.ggml.bos_token_id", Value::U32(3));
    file.set("tokenizer.ggml.eos_token_id", Value::U32(4));
    file
}

/// Names of the tokens before and after a prompt.
fn around(json: &Json) -> Vec<String> {
    let parts = json["post_processor"]["single"].as_array().into_iter().flatten();
    parts.map(|p| p["SpecialToken"]["id"].as_str().unwrap_or("A").to_string()).collect()
}

#[test]
fn a_file_says_which_tokens_stand_around_a_prompt() {
    for (pre, bos, eos, expected) in [
        ("qwen2", None, None, &[][..]),
        ("qwen2", None, Some(true), &["A", "</s>"]),
        ("qwen2", Some(true), Some(true), &["<s>", "A", "</s>"]),
        ("qwen2", Some(false), Some(false), &[]),
        ("llama-bpe", None, None, &["<s>", "A"]),
        ("llama-bpe", Some(false), None, &[]),
        ("smollm", None, None, &[]),
    ] {
        let mut file = byte_level(pre);
        for (name, add) in [("bos", bos), ("eos", eos)] {
            if let Some(add) = add {
                file.set(&format!("tokenizer.ggml.add_{name}_token"), Value::Bool(add));
            }
        }
        assert_eq!(around(&tokenizer(&file)), expected, "{pre} {bos:?} {eos:?}");
    }
    let mut file = stories_file();
    assert_eq!(around(&tokenizer(&file)), ["<s>", "A"]);
    file.set("tokenizer.ggml.add_eos_token", Value::Bool(true));
    let json = tokenizer(&file);
    assert_eq!(around(&json), ["<s>", "A", "</s>"]);
    assert_eq!(json["post_processor"]["special_tokens"]["</s>"]["ids"], json!([2]));
    file.values.retain(|(key, _)| key != "tokenizer.ggml.eos_token_id");
    assert!(opened(&file).err().unwrap().contains("tokenizer.ggml.eos_token_id: expected an id, since"));
}

#[test]
fn names_of_pre_tokenizers_mean_expressions() {
    let steps = |pre: &str| {
        let json = tokenizer(&byte_level(pre));
        let all = json["pre_tokenizer"]["pretokenizers"].as_array().unwrap().clone();
        let patterns: Vec<Json> = all.iter().map(|step| step["pattern"]["Regex"].clone()).collect();
        let gpt2 = all.last().unwrap()["use_regex"].as_bool().unwrap();
        let flags = (gpt2, json["normalizer"].is_object(), json["model"]["ignore_merges"].as_bool().unwrap());
        (patterns[..patterns.len() - 1].to_vec(), flags)
    };
    assert_eq!(steps("smollm"), (vec![json!(r"\p{N}")], (true, false, false)));
    assert_eq!(steps("gpt-2"), (Vec::new(), (true, false, false)));
    let (llama3, flags) = steps("llama-bpe");
    assert_eq!((llama3.len(), flags), (1, (false, false, true)));
    assert_eq!(steps("smaug-bpe"), (llama3, (false, false, false)));
    assert_eq!(steps("qwen2").1, (false, true, false));
    assert_eq!(steps("tekken").1, (false, false, true));
    assert_eq!(
        (steps("default").0.len(), steps("deepseek-v3").0.len(), steps("deepseek-coder").0.len()),
        (4, 3, 5)
    );
    for unknown in ["bloom", "gpt-4o", "whatever"] {
        let message = opened(&byte_level(unknown)).err().unwrap();
        assert!(message.contains(&format!("tokenizer.ggml.pre {unknown:?} is not supported")), "{message}");
    }
}

/// Q4_1: f16 step, f16 minimum, 16 bytes; values 0 to 15 in the low halves, 16 to 31 in the high ones.
fn q4_1(_: &str, values: &[f32]) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    for block in values.chunks_exact(32) {
        let least = block.iter().copied().fold(f32::MAX, f32::min);
        let most = block.iter().copied().fold(f32::MIN, f32::max);
        let (step, min) = (f16::from_f32((most - least) / 15.0), f16::from_f32(least));
        out.extend(step.to_le_bytes());
        out.extend(min.to_le_bytes());
        let q = |v: &f32| ((v - min.to_f32()) / step.to_f32()).round().clamp(0.0, 15.0) as u8;
        out.extend((0..16).map(|i| q(&block[i]) | q(&block[i + 16]) << 4));
    }
    (3, out)
}

#[test]
fn values_of_q4_1_are_step_times_integer_plus_minimum() {
    let (_, tensors) = parts("qwen3-tied");
    let checkpoint = opened(&case("qwen3-tied", &q4_1)).unwrap();
    let graph = checkpoint.graph().unwrap();
    for decl in graph.weights.iter().filter(|w| w.shape.len() == 2) {
        let raw = &tensors[&decl.tensor_name(1)];
        let (_, blocks) = q4_1("", &values_of(raw));
        let found = checkpoint.tensor(decl, 1).unwrap().to_f32();
        for (i, (value, source)) in found.iter().zip(values_of(raw)).enumerate() {
            let block = &blocks[i / 32 * 20..][..20];
            let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
            let at = i % 32;
            let q = block[4 + at % 16] >> (4 * (at / 16)) & 15;
            assert_eq!(*value, half(0) * f32::from(q) + half(2), "{} {i}", decl.name);
            assert!((value - source).abs() <= half(0), "{} {i}: {value} and {source}", decl.name);
        }
    }
}
