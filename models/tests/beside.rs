//! Files beside the weights: tokens that only other files list, sampling, pooling, names without a prefix, and every
//! key of these files.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use std::path::Path;

use fixtures::gguf::{Gguf, Value};
use fixtures::gguf_models::stories_file;
use fixtures::*;
use qwenc_ir::interp::Precision;
use qwenc_models::{side_keys, Checkpoint, SideKey, Treatment};
use serde_json::{json, Map, Value as Json};

/// The sample's folder.
fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn read(dir: &Path, name: &str) -> Map<String, Json> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap_or("{}".to_string());
    serde_json::from_str(&text).unwrap()
}

/// Changes an object of a folder, which is begun where it is missing.
fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut Map<String, Json>)) {
    let mut map = read(dir, name);
    change(&mut map);
    std::fs::write(dir.join(name), Json::Object(map).to_string()).unwrap();
}

/// The sample with one key of one file set.
fn with(name: &str, key: &str, value: Json) -> tempfile::TempDir {
    let dir = sample();
    edit(dir.path(), name, |map| {
        let (outer, inner) = key.split_once('.').filter(|_| name == "tokenizer.json").unwrap_or((key, ""));
        match inner {
            "" => map.insert(key.to_string(), value),
            inner => map[outer].as_object_mut().unwrap().insert(inner.to_string(), value),
        };
    });
    dir
}

/// Id, special and normalized of a token of the checkpoint's tokenizer.json.
fn token(dir: &Path, text: &str) -> Option<(u64, bool, bool)> {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let json: Json =
        serde_json::from_str(checkpoint.side_files().tokenizer_json.as_deref().unwrap()).unwrap();
    let added = json["added_tokens"].as_array().unwrap().iter().find(|t| t["content"] == text)?;
    let flag = |name: &str| added[name].as_bool().unwrap();
    Some((added["id"].as_u64().unwrap(), flag("special"), flag("normalized")))
}

const NEW: &str = "<|ctl|>";

fn entry(special: bool) -> Json {
    json!({"content": NEW, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": special})
}

/// Expected values: AutoTokenizer of transformers 4.57.1 and 5.24.0 with the same files.
#[test]
fn tokens_that_only_other_files_list_are_one_id() {
    let config = "tokenizer_config.json";
    let listed = |id: &str, entry: Json| {
        let dir = sample();
        edit(dir.path(), config, |map| {
            drop(map["added_tokens_decoder"].as_object_mut().unwrap().insert(id.to_string(), entry))
        });
        dir
    };
    for id in ["2046", "2047", "5000"] {
        let dir = listed(id, entry(true));
        assert_eq!(token(dir.path(), NEW), Some((2046, true, false)), "{id}");
        let warnings = Checkpoint::open(dir.path()).unwrap().side_files().warnings.join("\n");
        assert_eq!(warnings.contains(&format!("id {id}")), id != "2046", "{id}");
    }
    assert_eq!(token(listed("2046", entry(false)).path(), NEW), Some((2046, false, false)));
    assert_eq!(
        token(listed("2044", json!({"content": "<think>", "special": true})).path(), "<think>"),
        Some((2044, true, false))
    );
    for (key, value) in [
        ("bos_token", json!(NEW)),
        ("eos_token", entry(true)),
        ("pad_token", json!(NEW)),
        ("additional_special_tokens", json!(["<|im_start|>", NEW])),
        ("extra_special_tokens", json!({"image_token": NEW})),
        ("image_token", json!(NEW)),
    ] {
        assert_eq!(
            token(with(config, key, value.clone()).path(), NEW),
            Some((2046, true, false)),
            "{key} {value}"
        );
    }
    assert_eq!(
        token(with(config, "eos_token", json!("<think>")).path(), "<think>"),
        Some((2044, true, false))
    );
    // The older files count where there is no list.
    let older = [
        ("special_tokens_map.json", json!({"additional_special_tokens": [NEW]}), Some((2046, true, false))),
        (
            "special_tokens_map.json",
            json!({"additional_special_tokens": [entry(true)]}),
            Some((2046, true, false)),
        ),
        ("special_tokens_map.json", json!({"bos_token": NEW}), Some((2046, true, false))),
        ("added_tokens.json", json!({NEW: 2046}), Some((2046, false, true))),
    ];
    for (name, content, expected) in older {
        let dir = sample();
        std::fs::write(dir.path().join(name), content.to_string()).unwrap();
        assert_eq!(token(dir.path(), NEW), None, "{content}");
        edit(dir.path(), config, |map| drop(map.remove("added_tokens_decoder")));
        assert_eq!(token(dir.path(), NEW), expected, "{content}");
    }
}

#[test]
fn without_a_new_token_the_text_stays_as_it_is() {
    let plain = Checkpoint::open(sample().path()).unwrap().side_files().tokenizer_json.clone().unwrap();
    assert_eq!(plain, std::fs::read_to_string(sample().path().join("tokenizer.json")).unwrap());
}

#[test]
fn a_named_token_of_any_vocabulary_has_its_own_id() {
    let unigram =
        json!({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], [NEW, -1.0], ["a", -2.0]]});
    let dir = with("tokenizer_config.json", "eos_token", json!(NEW));
    edit(dir.path(), "tokenizer_config.json", |map| drop(map.remove("added_tokens_decoder")));
    edit(dir.path(), "tokenizer.json", |map| {
        map.insert("model".to_string(), unigram);
        map.insert("added_tokens".to_string(), json!([]));
    });
    assert_eq!(token(dir.path(), NEW), Some((1, true, false)));
    // The largest id that a file can state.
    let dir = with("tokenizer_config.json", "eos_token", json!(NEW));
    edit(dir.path(), "tokenizer.json", |map| map["added_tokens"][0]["id"] = json!(u64::MAX));
    let said = match Checkpoint::open(dir.path()) {
        Ok(checkpoint) => checkpoint.side_files().warnings.join("|"),
        Err(e) => e.to_string(),
    };
    assert!(said.contains(&u64::MAX.to_string()), "{said}");
}

#[test]
fn lists_of_tokens_that_are_none_are_refused_by_name() {
    for (key, value) in [
        ("added_tokens_decoder", json!({"x": entry(true)})),
        ("added_tokens_decoder", json!({"2046": 7})),
        ("added_tokens_decoder", json!({"2046": {"content": NEW, "special": "yes"}})),
        ("added_tokens_decoder", json!([NEW])),
        ("additional_special_tokens", json!("<a>")),
        ("pad_token", json!(7)),
    ] {
        let error = Checkpoint::open(with("tokenizer_config.json", key, value.clone()).path()).err().unwrap();
        let error = error.to_string();
        assert!(
            error.contains("tokenizer_config.json") && error.contains("expected"),
            "{key} {value}: {error}"
        );
    }
}

#[test]
fn a_checkpoint_without_a_word_on_sampling_has_its_familys_defaults() {
    let dir = sample();
    assert_eq!(Checkpoint::open(dir.path()).unwrap().side_files().sampling.temperature, 0.6);
    std::fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    let sampling = exported_file(&Checkpoint::open(dir.path()).unwrap(), None).side_files().sampling.clone();
    assert_eq!(
        (sampling.temperature, sampling.top_k, sampling.without_thinking),
        (0.6, 20, Some((0.7, 0.8)))
    );
    let opened = |file: &Gguf| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, file.bytes()).unwrap();
        exported_file(&Checkpoint::open(&path).unwrap(), None).side_files().sampling.clone()
    };
    let mut file = stories_file();
    let llama = opened(&file);
    assert_eq!((llama.temperature, llama.top_k, llama.top_p, llama.min_p), (0.8, 40, 0.95, 0.05));
    assert_eq!(llama.origins["temperature"], "family default");
    file.set("general.sampling.temp", Value::F32(0.25));
    file.set("general.sampling.penalty_repeat", Value::F32(1.5));
    let own = opened(&file);
    assert_eq!((own.temperature, own.top_k, own.repetition_penalty), (0.25, 40, 1.5));
    assert_eq!(own.origins["temperature"], "GGUF general.sampling");
}

#[test]
fn names_without_a_prefix_are_those_of_a_model_without_its_head() {
    let logits = |dir: &Path| {
        let checkpoint = Checkpoint::open(dir).unwrap();
        let notes = checkpoint.side_files().warnings.iter().filter(|w| w.contains("lm_head")).count();
        (run(checkpoint.graph().unwrap(), &checkpoint, Precision::F64, &[1, 2, 3]), notes)
    };
    let (config, tensors) = parts("qwen3-tied");
    let bare: std::collections::BTreeMap<String, Raw> = tensors
        .iter()
        .map(|(name, raw)| (name.strip_prefix("model.").unwrap().to_string(), raw.clone()))
        .collect();
    let (expected, none) = logits(&folder("qwen3-tied"));
    for config in [config.clone(), config.replace("Qwen3ForCausalLM", "Qwen3Model")] {
        let (found, notes) = logits(write_checkpoint(&config, &bare).path());
        assert!(found["logits"] == expected["logits"] && (none, notes) == (0, 0));
    }
    // An untied model that was saved without its head embeds as it did.
    let untied = config.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert_ne!(untied, config);
    let (found, notes) = logits(write_checkpoint(&untied, &bare).path());
    assert!(found["final_norm"] == expected["final_norm"] && notes == 1);
    let mut twice = bare.clone();
    twice.insert("model.norm.weight".to_string(), bare["norm.weight"].clone());
    assert!(Checkpoint::open(write_checkpoint(&config, &twice).path()).is_err(), "one of two would be taken");
    let mut mixed = bare;
    mixed.remove("norm.weight");
    let error = Checkpoint::open(write_checkpoint(&config, &mixed).path()).err().unwrap().to_string();
    assert!(error.contains("model.norm.weight: expected"), "{error}");
}

#[test]
fn another_pooling_than_the_last_tokens_is_refused() {
    let pooled = |pooling: Json, more: &[&str]| {
        let dir = sample();
        let module = |kind: &str, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": format!("sentence_transformers.models.{kind}")});
        let mut modules = vec![module("Transformer", ""), module("Pooling", "1_Pooling")];
        modules.extend(more.iter().map(|kind| module(kind, "2_More")));
        std::fs::write(dir.path().join("modules.json"), Json::Array(modules).to_string()).unwrap();
        std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
        std::fs::write(dir.path().join("1_Pooling/config.json"), pooling.to_string()).unwrap();
        Checkpoint::open(dir.path()).map(|c| c.side_files().warnings.to_vec()).map_err(|e| e.to_string())
    };
    let last = json!({"word_embedding_dimension": 128, "pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true, "include_prompt": true});
    assert_eq!(pooled(last.clone(), &["Normalize"]), Ok(Vec::new()));
    assert!(pooled(last.clone(), &[]).unwrap()[0].contains("no Normalize"));
    assert!(pooled(last, &["Dense"]).unwrap_err().contains("Dense"));
    for (wrong, part) in [
        (json!({"pooling_mode_mean_tokens": true}), "pooling_mode_mean_tokens true"),
        (
            json!({"pooling_mode_cls_token": true, "pooling_mode_lasttoken": true}),
            "pooling_mode_cls_token true",
        ),
        (json!({"pooling_mode": "mean"}), "pooling_mode \"mean\""),
        (json!({"pooling_mode_lasttoken": true, "include_prompt": false}), "include_prompt false"),
        (json!({"pooling_mode_lasttoken": false}), "no stated pooling_mode"),
        (json!({}), "no stated pooling_mode"),
    ] {
        let message = pooled(wrong, &["Normalize"]).unwrap_err();
        assert!(message.contains(part) && message.contains("1_Pooling/config.json"), "{message}");
    }
}

/// Warnings and side texts of a folder's checkpoint, or its refusal.
fn beside(dir: &Path) -> Result<(Vec<String>, String), String> {
    let checkpoint = Checkpoint::open(dir).map_err(|e| e.to_string())?;
    let all = json!([
        checkpoint.side_files().tokenizer_json.as_deref(),
        checkpoint.side_files().chat_template.as_deref(),
        format!("{:?}", checkpoint.side_files().sampling),
        checkpoint.side_files().stop_tokens,
        [checkpoint.side_files().bos_token.as_deref(), checkpoint.side_files().eos_token.as_deref()],
        checkpoint.config().dims.vocab_rows,
    ]);
    Ok((checkpoint.side_files().warnings.to_vec(), all.to_string()))
}

/// A key that the line covers, without stars.
fn example(line: &SideKey) -> String {
    line.key.replace('*', "x").replace("{architecture}", "llama")
}

/// Every line of the table, but those that are used: a value that changes nothing is not told, another is told, refused or
/// without effect, as the line says.
#[test]
fn every_key_is_treated_as_the_table_says() {
    let plain = beside(sample().path()).unwrap();
    assert!(plain.0.is_empty(), "{:?}", plain.0);
    let odd = json!("odd");
    for file in ["generation_config.json", "tokenizer_config.json", "config.json", "tokenizer.json"] {
        let lines = side_keys(file);
        assert!(lines.len() > 15, "{file}");
        for line in lines.iter().filter(|line| line.treatment != Treatment::Used) {
            let key = example(line);
            // tokenizer.json's own keys are the library's to read: it is shown what it knows.
            let value = match key.as_str() {
                "truncation" if file == "tokenizer.json" => {
                    json!({"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0})
                }
                "padding" if file == "tokenizer.json" => json!({"strategy": {"Fixed": 64}}),
                _ => odd.clone(),
            };
            let found = beside(with(file, &key, value).path());
            let what = format!("{file} {key}: {found:?}");
            match (line.treatment, found) {
                (Treatment::Ignored, Ok((notes, _))) => assert!(notes.is_empty(), "{what}"),
                (Treatment::Warned, Ok((notes, all))) => {
                    let told = notes.len() == 1 && notes[0].starts_with(&format!("{file}: {key} \"odd\""));
                    assert!(told && all == plain.1, "{what}");
                }
                (Treatment::Refused, Err(message)) => {
                    assert!(message.contains(&format!("{key} \"odd\"")), "{what}")
                }
                _ => panic!("{what}"),
            }
            let harmless = beside(with(file, &key, Json::Null).path());
            assert_eq!(harmless.map(|(notes, _)| notes), Ok(Vec::new()), "{file} {key} null");
        }
        let (notes, _) = beside(with(file, "never_heard_of", odd.clone()).path()).unwrap();
        assert_eq!(notes, [format!("{file}: the key never_heard_of is unknown here and not applied")]);
    }
}

#[test]
fn every_gguf_key_is_treated_as_the_table_says() {
    let opened = |key: Option<&str>| {
        let mut file = stories_file();
        key.iter().for_each(|key| file.set(key, Value::Text("odd".to_string())));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, file.bytes()).unwrap();
        Checkpoint::open(&path).map(|c| c.side_files().warnings.to_vec()).map_err(|e| e.to_string())
    };
    let plain = opened(None).unwrap();
    for line in side_keys("GGUF").iter().filter(|line| line.treatment != Treatment::Used) {
        let key = example(line);
        let found = opened(Some(&key));
        let what = format!("{key}: {found:?}");
        match (line.treatment, found) {
            (Treatment::Ignored, Ok(notes)) => assert_eq!(notes, plain, "{what}"),
            (Treatment::Warned, Ok(notes)) => {
                let told = notes.iter().filter(|note| note.contains(&format!("GGUF: {key} \"odd\"")));
                assert_eq!(told.count(), 1, "{what}");
            }
            (Treatment::Refused, Err(message)) => assert!(message.contains("\"odd\""), "{what}"),
            _ => panic!("{what}"),
        }
    }
    let told = opened(Some("llama.attention.never_heard_of")).unwrap();
    assert!(told.iter().any(|note| note.contains("llama.attention.never_heard_of is unknown")), "{told:?}");
}

/// Keys of files that are published: Qwen3, Qwen2.5, Qwen3-Embedding, Llama 2 and 3.2, SmolLM2, TinyLlama.
#[test]
fn every_published_key_has_a_line() {
    let path = data().join("published_keys.json");
    let all: Map<String, Json> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (file, keys) in &all {
        let lines = side_keys(file);
        for key in keys.as_array().unwrap().iter().map(|k| k.as_str().unwrap()) {
            let covers = |line: &SideKey| match line.key.split_once('*') {
                Some((begin, end)) => key.starts_with(begin) && key.ends_with(end),
                None => key == line.key,
            };
            assert!(lines.iter().any(covers), "{file}: {key} has no line in side_keys.txt");
        }
        assert!(keys.as_array().unwrap().len() >= 5, "{file}");
    }
    assert_eq!(all.len(), 6);
}
