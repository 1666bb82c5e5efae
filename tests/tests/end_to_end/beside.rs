//! Files beside the weights, in an executable: penalties, saved truncation and padding, tokens of other files, tokens
//! around a prompt, stop texts, sampling defaults.

use std::path::{Path, PathBuf};

use qwenc_tests::golden::say;
use qwenc_tests::program::{qwenc, run};
use qwenc_tests::variants::folder;
use serde_json::{json, Map, Value};

/// The sample's folder with files changed, compiled.
fn compiled(change: impl FnOnce(&str, &mut Map<String, Value>) + Copy) -> (PathBuf, String) {
    let (dir, from) =
        (folder(), Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/sample"));
    std::fs::copy(from.join("model.safetensors"), dir.join("model.safetensors")).unwrap();
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        let mut map = serde_json::from_str(&std::fs::read_to_string(from.join(name)).unwrap()).unwrap();
        change(name, &mut map);
        std::fs::write(dir.join(name), Value::Object(map).to_string()).unwrap();
    }
    let out = dir.join("qwen");
    let done =
        run(&mut qwenc(&["compile", dir.to_str().unwrap(), "-o", out.to_str().unwrap(), "--quant", "f32"]));
    let notes = done.err.clone();
    done.ok();
    (out, notes)
}

/// The expected tokens are those of transformers 5.24 in float32: `generate` with and without repetition_penalty 1.3;
/// the smallest margin on the way is 2.6.
#[test]
fn what_other_files_say_is_in_the_executable() {
    let (executable, notes) = compiled(|name, map| match name {
        "generation_config.json" => {
            map.insert("repetition_penalty".into(), json!(1.3));
            map.insert("num_beams".into(), json!(4));
            map.insert("top_k".into(), json!(50.0));
        }
        "tokenizer.json" => {
            let cut = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
            let filled = json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 2037, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
            map.insert("truncation".into(), cut);
            map.insert("padding".into(), filled);
        }
        "tokenizer_config.json" => {
            let token = json!({"content": "<|ctl|>", "special": true});
            map["added_tokens_decoder"].as_object_mut().unwrap().insert("2046".into(), token);
        }
        _ => {}
    });
    assert!(notes.contains("generation_config.json: num_beams 4 is not applied"), "{notes}");
    let question = "What is 7 + 5?";
    let answer = |flags: &[&str]| {
        let fixed = ["generate", question, "--print-tokens", "--ignore-eos", "--max-tokens", "16"];
        say(&executable, &[&fixed[..], flags].concat()).ok().trim().to_string()
    };
    let penalised = "2039,198,2038,361,198,2044,363,2045,363,22,429,220,20,368,220,16";
    let plain = "2039,198,2038,361,198,2044,198,40,911,220,22,302,220,20,13,220";
    assert_eq!(answer(&[]), penalised);
    assert_eq!(answer(&["--speculate", "4"]), penalised);
    assert_eq!(answer(&["--repetition-penalty", "1"]), plain);
    assert_eq!(
        answer(&["--repetition-penalty", "1", "--stop", "7 and"]),
        &plain[..plain.find(",220,20").unwrap()]
    );
    // Eight tokens, neither cut to three nor filled up to 64; a token of tokenizer_config.json is one.
    for (prompt, tokens) in [(question, 8), ("<|ctl|>", 1), ("a<|ctl|>b", 3)] {
        let stats = say(&executable, &["generate", prompt, "--max-tokens", "1", "--stats"]);
        assert!(stats.err.contains(&format!("prefill: {tokens} tokens")), "{prompt}: {}", stats.err);
    }
    let shown = say(&executable, &["info"]).ok();
    assert!(
        shown.contains(
            "temperature 0.6, top-k 50, top-p 0.95, repetition-penalty 1.3 (generation_config.json)"
        ),
        "{shown}"
    );
    let flagged = say(&executable, &["info", "--json", "--temperature", "0.25"]).ok();
    let facts: Value = serde_json::from_str(&flagged).unwrap();
    assert_eq!(facts["sampling"]["temperature"], json!({"value": 0.25, "origin": "flag"}));
}

/// A null do_sample is greedy, as in transformers; an eos of the post-processor ends texts that are embedded.
#[test]
fn tokens_around_a_prompt_and_defaults_of_transformers() {
    let (executable, _) = compiled(|name, map| match name {
        "generation_config.json" => drop(map.insert("do_sample".into(), json!(null))),
        "tokenizer.json" => {
            let around = json!({"type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [2037], "tokens": ["<|endoftext|>"]}}});
            map.insert("post_processor".into(), around);
        }
        _ => {}
    });
    let text = say(&executable, &["embed", "What is 7 + 5?"]).ok();
    assert_eq!(text, say(&executable, &["embed", "--tokens", "385,277,220,22,429,220,20,30,2037"]).ok());
    assert_ne!(text, say(&executable, &["embed", "--tokens", "385,277,220,22,429,220,20,30"]).ok());
    assert!(say(&executable, &["info"]).ok().contains("temperature 0 (default of transformers)"));
}

/// Values that the compiler accepts are accepted by the executable; values that it refuses are named.
#[test]
fn values_that_cannot_be_meant_are_refused_when_compiling() {
    let dir = folder();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/sample");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(name), dir.join(name)).unwrap();
    }
    for (key, value) in [
        ("temperature", json!(1e39)),
        ("top_k", json!(-5)),
        ("do_sample", json!("yes")),
        ("eos_token_id", json!(-1)),
    ] {
        std::fs::write(dir.join("generation_config.json"), json!({key: value}).to_string()).unwrap();
        let said =
            run(&mut qwenc(&["compile", dir.to_str().unwrap(), "-o", dir.join("q").to_str().unwrap()]))
                .refused(1);
        assert!(said.contains("generation_config.json") && said.contains(key), "{key}: {said}");
    }
}
