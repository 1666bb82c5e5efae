//! RoPE scaling and context chosen by a person, in both styles of config.json; every rule at positions near and far.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::*;
use qwenc_ir::interp::Precision;
use qwenc_ir::{Rope, Scaling};
use qwenc_models::{Checkpoint, Config, Quant, RopeChoice};
use serde_json::{json, Value};

/// The golden case with some fields replaced.
fn checkpoint(changes: &Value) -> Checkpoint {
    let (config, tensors) = parts("qwen3-yarn");
    let mut config: Value = serde_json::from_str(&config).unwrap();
    changes.as_object().unwrap().iter().for_each(|(k, v)| config[k] = v.clone());
    Checkpoint::open(write_checkpoint(&config.to_string(), &tensors).path()).unwrap()
}

fn choice(scaling: &str, context: Option<u32>) -> RopeChoice {
    RopeChoice::of_words((!scaling.is_empty()).then_some(scaling), context).unwrap()
}

fn chosen(changes: Value, scaling: &str, context: Option<u32>) -> Config {
    checkpoint(&changes).with_rope(&choice(scaling, context)).unwrap().config().clone()
}

/// Both styles of a config without scaling.
fn plain(context: u32) -> [Value; 2] {
    let new = json!({"rope_type": "default", "rope_theta": 10000.0});
    [
        json!({"rope_parameters": new, "max_position_embeddings": context}),
        json!({"rope_parameters": null, "rope_theta": 10000.0, "max_position_embeddings": context}),
    ]
}

#[test]
fn yarn_chosen_is_the_yarn_of_the_golden() {
    let golden = golden(&folder("qwen3-yarn").join("golden.safetensors"));
    let real = Checkpoint::open(&folder("qwen3-yarn")).unwrap();
    for base in plain(32).into_iter().chain(plain(128)) {
        let checkpoint = checkpoint(&base).with_rope(&choice("yarn:4", Some(128))).unwrap();
        assert_eq!(checkpoint.side_files().warnings, real.side_files().warnings);
        assert_eq!(
            (checkpoint.config().rope, checkpoint.config().dims),
            (real.config().rope, real.config().dims)
        );
        let file = exported_file(&checkpoint, Some(Quant::F32));
        let seen = run(file.graph().unwrap(), &file, Precision::F32, &golden.tokens);
        assert!(relative(&seen["logits"].data, &golden.values["logits"]) < 1e-5);
        // Of a model.bin, too.
        let plain = exported_file(&self::checkpoint(&base), Some(Quant::F32));
        let file = plain.with_rope(&choice("yarn:4", Some(128))).unwrap();
        assert_eq!(file.graph().unwrap().rope, real.config().rope);
        assert_eq!(file.graph().unwrap().dims.context, 128);
    }
}

#[test]
fn every_rule_can_be_chosen_and_what_is_stated_stays() {
    let scaling = |word: &str, context| chosen(plain(64)[1].clone(), word, context).rope.scaling;
    assert_eq!(scaling("linear:2.5", None), Scaling::Linear { factor: 2.5 });
    assert_eq!(scaling("ntk:2", Some(128)), Scaling::Ntk { factor: 2.0 });
    assert_eq!(scaling("dynamic:2", None), Scaling::None);
    assert_eq!(scaling("none", None), Scaling::None);
    let llama3 = |original_context| Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context };
    assert_eq!(scaling("llama3:8", None), llama3(64));
    assert_eq!(scaling("llama3:8:16", Some(512)), llama3(16));
    let original = |changes: Value, word: &str, context| match chosen(changes, word, context).rope.scaling {
        Scaling::Yarn { original_context, factor, .. } => (original_context, factor),
        other => panic!("{other:?}"),
    };
    assert_eq!(original(plain(64)[0].clone(), "yarn:4", None), (64, 4.0));
    // As Qwen3 is to be used: 131072 of 40960 stated and 32768 trained.
    assert_eq!(original(plain(40960)[0].clone(), "yarn:4", Some(131_072)), (32_768, 4.0));
    assert_eq!(original(plain(64)[0].clone(), "yarn:4", Some(512)), (64, 4.0));
    assert_eq!(original(plain(64)[0].clone(), "yarn:4:48", Some(128)), (48, 4.0));
    let mut beside = plain(64)[1].clone();
    beside["original_max_position_embeddings"] = json!(16);
    assert_eq!(original(beside.clone(), "yarn:4", Some(128)), (16, 4.0));
    assert_eq!(original(beside, "yarn:4:48", Some(128)), (48, 4.0));
    // The golden states 32 itself.
    assert_eq!(original(json!({}), "yarn:2", Some(128)), (32, 2.0));
    assert_eq!(chosen(json!({}), "none", None).rope, Rope::new(10_000.0));
    // Without a rule of its own, a longer context must not move what the old rule scales from.
    let implicit = json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0}});
    assert_eq!(original(implicit, "", Some(256)), (128, 2.0));
    assert_eq!(chosen(json!({}), "", Some(99)).dims.context, 99);
}

#[test]
fn contexts_beyond_the_rule_are_said_or_refused() {
    let warned = |word: &str, context| {
        let file = exported_file(&checkpoint(&plain(64)[0]), Some(Quant::Bf16));
        let before = file.side_files().warnings.len();
        file.with_rope(&choice(word, Some(context))).unwrap().side_files().warnings[before..].join("|")
    };
    assert_eq!(warned("yarn:4", 256), "");
    assert_eq!(warned("linear:2", 128), "");
    assert_eq!(
        warned("", 65),
        "--context 65: the model and its RoPE scaling reach 64; answers beyond may be bad"
    );
    assert_eq!(
        warned("linear:2", 129),
        "--context 129: the model and its RoPE scaling reach 128; answers beyond may be bad"
    );
    let dynamic =
        checkpoint(&plain(64)[0]).with_rope(&choice("dynamic:2", Some(128))).err().unwrap().to_string();
    assert!(
        dynamic.ends_with(
            ": dynamic RoPE scaling at 128 positions (beyond 64 its frequencies change with the length of the sequence) \
             is not supported (supported: up to 64; ntk:3 has the frequencies of a sequence of 128; yarn:FACTOR)"
        ),
        "{dynamic}"
    );
    let stated = json!({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}});
    assert!(checkpoint(&stated).with_rope(&choice("", Some(129))).is_err());
    assert!(checkpoint(&stated).with_rope(&choice("", Some(128))).is_ok());
}

#[test]
fn words_that_mean_nothing_are_refused() {
    for word in [
        "",
        "yarn",
        "yarn:",
        "yarn:0.5",
        "yarn:NaN",
        "yarn:4:0",
        "yarn:4:8:1",
        "longrope:2",
        "linear:2:64",
        "none:1",
        ":4",
    ] {
        let message = RopeChoice::of_words(Some(word), None).unwrap_err().to_string();
        assert!(
            message.starts_with("RoPE scaling: expected none, ")
                && message.ends_with(&format!("found {word:?}"))
        );
    }
    let nothing = RopeChoice::of_words(None, Some(0)).unwrap_err().to_string();
    assert_eq!(nothing, "--context: expected 1 to 268435456 tokens, found 0");
    assert!(RopeChoice::of_words(None, None).unwrap().is_empty());
}

/// The frequencies of `dynamic` for a sequence of 2048 where 512 were trained, by transformers' formula, are those of
/// `ntk` with the factor that the refusal names.
#[test]
fn ntk_stands_in_for_dynamic() {
    let (theta, dim, factor, length, trained) = (1e4f64, 64.0f64, 2.0f64, 2048.0f64, 512.0f64);
    let same = factor * length / trained - (factor - 1.0);
    let base = theta * same.powf(dim / (dim - 2.0));
    let table = Rope { theta: 1e4, scaling: Scaling::Ntk { factor: same as f32 } }.inv_freq(64);
    for (i, found) in table.into_iter().enumerate() {
        let expected = base.powf(-2.0 * i as f64 / dim);
        assert!((f64::from(found) / expected - 1.0).abs() < 1e-6, "{i}");
    }
}
