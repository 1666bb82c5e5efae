//! config.json: both styles, defaults, and the exact words of every refusal.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::{folder, parts};
use qwenc_ir::Scaling;
use qwenc_models::{Config, Family};
use serde_json::{json, Value};

fn base() -> Value {
    serde_json::from_str(&parts("qwen3-tied").0).unwrap()
}

/// The base config with some fields replaced; null stands for absence, as it does in the files.
fn with(changes: Value) -> String {
    let mut config = base();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

fn parse(changes: Value) -> Config {
    Config::parse("config.json", &with(changes)).unwrap()
}

fn refusal(changes: Value) -> String {
    Config::parse("config.json", &with(changes)).unwrap_err().to_string()
}

#[test]
fn sizes_are_read() {
    let config = parse(json!({}));
    assert_eq!(config.family, Family::Qwen3);
    assert_eq!(config.model_type, "qwen3");
    let d = config.dims;
    assert_eq!((d.layers, d.hidden, d.intermediate, d.heads, d.kv_heads), (2, 64, 160, 4, 2));
    assert_eq!((d.head_dim, d.vocab_rows, d.context), (32, 320, 512));
    assert_eq!((config.eps.get(), config.rope.theta, config.tied), (1e-6, 1e6, true));
    assert_eq!(config.windows, [None, None]);
    assert_eq!(config.raw["vocab_size"], json!(320));
}

#[test]
fn absent_head_dim_is_hidden_over_heads() {
    assert_eq!(parse(json!({"head_dim": null})).dims.head_dim, 16);
    assert_eq!(
        refusal(json!({"head_dim": null, "hidden_size": 66})),
        "config.json: head_dim: expected a value, since hidden_size / num_attention_heads is 66 / 4, found nothing; \
         correct the file"
    );
}

#[test]
fn both_rope_styles_say_the_same() {
    let old = json!({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32});
    let mut new = old.clone();
    new["rope_theta"] = json!(10000);
    let a = parse(json!({"rope_theta": 10000.0, "rope_scaling": old}));
    let b = parse(json!({"rope_theta": null, "rope_scaling": null, "rope_parameters": new}));
    assert_eq!(a.rope, b.rope);
    let golden = std::fs::read_to_string(folder("qwen3-yarn").join("config.json")).unwrap();
    assert_eq!(Config::parse("config.json", &golden).unwrap().rope, b.rope);
    let attention_factor = (0.1 * 4f64.ln() + 1.0) as f32;
    let (factor, original_context, beta_fast, beta_slow) = (4.0, 32, 32.0, 1.0);
    let yarn = Scaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor };
    assert_eq!(b.rope.scaling, yarn);
}

#[test]
fn every_supported_rope_rule_is_read() {
    let scaling = |rule: Value| parse(json!({"rope_scaling": rule})).rope.scaling;
    assert_eq!(scaling(json!(null)), Scaling::None);
    assert_eq!(scaling(json!({"rope_type": "default"})), Scaling::None);
    assert_eq!(scaling(json!({"type": "linear", "factor": 2.5})), Scaling::Linear { factor: 2.5 });
    assert_eq!(scaling(json!({"type": "ntk", "factor": 2.5})), Scaling::Ntk { factor: 2.5 });
    // Within max_position_embeddings, which is the longest context, it changes nothing.
    assert_eq!(scaling(json!({"type": "dynamic", "factor": 2.5})), Scaling::None);
    let low_high = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32});
    assert_eq!(scaling(low_high), Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 32 });
    let given =
        json!({"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5, "beta_fast": 16, "beta_slow": 2});
    let (factor, beta_fast, beta_slow, attention_factor) = (2.0, 16.0, 2.0, 1.5);
    // Without its own, the original context is max_position_embeddings.
    let original_context = 512;
    assert_eq!(
        scaling(given),
        Scaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor }
    );
}

#[test]
fn a_large_context_alone_scales_nothing() {
    assert_eq!(parse(json!({"max_position_embeddings": 1 << 20})).rope.scaling, Scaling::None);
}

#[test]
fn other_rope_rules_are_refused_by_name() {
    let rule = |rule: Value| refusal(json!({"rope_scaling": rule}));
    for kind in ["longrope", "su", "mrope", "proportional"] {
        assert_eq!(
            rule(json!({"rope_type": kind, "factor": 2.0})),
            format!(
                "config.json: rope_scaling.rope_type \"{kind}\" is not supported (supported: default, linear, dynamic, \
                 ntk, yarn, llama3)"
            )
        );
    }
    // The rule is named even where it has fields of its own.
    assert!(rule(json!({"type": "longrope", "short_factor": [1.0]})).contains("rope_type \"longrope\""));
    assert!(rule(json!({"full_attention": {}})).contains("rope_scaling.full_attention is not supported"));
    assert_eq!(
        rule(json!({"factor": 2.0})),
        "config.json: rope_scaling.rope_type: expected a string, found nothing; correct the file"
    );
    assert!(rule(json!({"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}))
        .starts_with("config.json: rope_scaling.mscale is not supported"));
    assert_eq!(
        rule(json!({"rope_type": "yarn", "factor": 0.5})),
        "config.json: rope_scaling.factor: expected a number of at least 1, found 0.5; correct the file"
    );
    let twice = json!({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32});
    assert_eq!(
        refusal(json!({"rope_scaling": twice, "original_max_position_embeddings": 64})),
        "config.json: original_max_position_embeddings: expected 32, as \
         rope_scaling.original_max_position_embeddings, found 64; correct the file"
    );
    assert_eq!(
        refusal(json!({"rope_theta": null})),
        "config.json: rope_theta: expected a number above 1 here or in rope_parameters, found nothing; correct the file"
    );
    assert_eq!(
        refusal(json!({"rope_parameters": {"rope_theta": 10000.0}})),
        "config.json: rope_theta: expected 10000, as rope_parameters.rope_theta, found 1000000; correct the file"
    );
}

#[test]
fn sliding_layers_are_those_that_the_config_says() {
    let sliding = |changes: Value| parse(changes).windows;
    let on =
        json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1, "layer_types": null});
    assert_eq!(sliding(on), [None, Some(8)]);
    let off = json!({"use_sliding_window": false, "sliding_window": 8, "max_window_layers": 0, "layer_types": null});
    assert_eq!(sliding(off), [None, None]);
    let listed = json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"]});
    assert_eq!(sliding(listed), [Some(8), None]);
    // null is no window; where nothing is said transformers takes one of its own.
    let unsaid = json!({"use_sliding_window": true, "sliding_window": null, "layer_types": null});
    assert_eq!(sliding(unsaid.clone()), [None, None]);
    let mut config: Value = serde_json::from_str(&with(unsaid)).unwrap();
    config.as_object_mut().unwrap().remove("sliding_window");
    assert_eq!(
        Config::parse("config.json", &config.to_string()).unwrap_err().to_string(),
        "config.json: sliding_window: expected an integer or null, since use_sliding_window is true, found nothing; \
         correct the file"
    );
    assert_eq!(
        refusal(json!({"layer_types": ["full_attention", "linear_attention"]})),
        "config.json: layer_types entry \"linear_attention\" is not supported (supported: full_attention, \
         sliding_attention)"
    );
    assert_eq!(
        refusal(json!({"layer_types": ["full_attention"]})),
        "config.json: layer_types: expected 2 entries, one per layer, found 1; correct the file"
    );
    assert_eq!(
        refusal(json!({"use_sliding_window": true, "layer_types": ["full_attention", "sliding_attention"]})),
        "config.json: sliding_window: expected an integer, since layer_types has sliding_attention, found nothing; \
         correct the file"
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        (
            json!({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}),
            "config.json: Qwen3MoeForCausalLM with model_type qwen3_moe is not supported (supported: Qwen3ForCausalLM \
             with model_type qwen3, Qwen2ForCausalLM with model_type qwen2, LlamaForCausalLM with model_type llama)",
        ),
        (
            json!({"num_experts": 128}),
            "config.json: a mixture of experts (num_experts 128) is not supported (supported: dense models)",
        ),
        (
            json!({"hidden_act": "gelu"}),
            "config.json: hidden_act \"gelu\" is not supported (supported: silu)",
        ),
        (
            json!({"mlp_bias": true}),
            "config.json: mlp_bias true for Qwen3 is not supported (supported: false)",
        ),
        (
            json!({"quantization_config": {"quant_method": "awq"}}),
            "config.json: quantization_config \"awq\" is not supported (supported: f32, f16, bf16 checkpoints)",
        ),
        (
            json!({"model_type": null, "architectures": null}),
            "config.json: model_type: expected a name (supported: Qwen3ForCausalLM with model_type qwen3, \
             Qwen2ForCausalLM with model_type qwen2, LlamaForCausalLM with model_type llama), found nothing; correct the file",
        ),
    ];
    for (changes, message) in cases {
        assert_eq!(refusal(changes), message);
    }
}

#[test]
fn absurd_sizes_are_refused() {
    let cases = [
        (
            json!({"num_hidden_layers": 4_294_967_295u32}),
            "num_hidden_layers: expected an integer of 1 to 1024, found 4294967295",
        ),
        (json!({"hidden_size": 0}), "hidden_size: expected an integer of 1 to 1048576, found 0"),
        (json!({"hidden_size": -64}), "hidden_size: expected an integer of 1 to 1048576, found -64"),
        (json!({"hidden_size": 64.0}), "hidden_size: expected an integer of 1 to 1048576, found 64.0"),
        (
            json!({"vocab_size": 1u64 << 40}),
            "vocab_size: expected an integer of 1 to 4194304, found 1099511627776",
        ),
        (json!({"vocab_size": null}), "vocab_size: expected an integer of 1 to 4194304, found nothing"),
        (
            json!({"num_key_value_heads": 3}),
            "num_key_value_heads: expected a divisor of num_attention_heads, 4, found 3",
        ),
        (json!({"head_dim": 31}), "head_dim: expected an even number, found 31"),
        (json!({"rms_norm_eps": "1e-6"}), "rms_norm_eps: expected a number above 0, found \"1e-6\""),
        (json!({"rope_theta": 1}), "rope_theta: expected a number above 1, found 1"),
        (
            json!({"eos_token_id": [1, -2]}),
            "eos_token_id: expected a token id or a list of them, found [1,-2]",
        ),
    ];
    for (changes, message) in cases {
        assert_eq!(refusal(changes), format!("config.json: {message}; correct the file"));
    }
}

#[test]
fn text_that_is_no_config_is_refused() {
    let error = |text: &str| Config::parse("config.json", text).unwrap_err().to_string();
    assert_eq!(
        error("{\"a\":"),
        "config.json: expected JSON, found an error: EOF while parsing a value at line 1 column 5; fetch the file again"
    );
    assert_eq!(error("[1]"), "config.json: the whole file: expected an object, found [1]; correct the file");
    assert!(error(&"[".repeat(100_000)).starts_with("config.json: expected JSON"));
}

#[test]
fn stop_tokens_are_a_set() {
    assert_eq!(parse(json!({"eos_token_id": [7, 3, 7]})).stop_tokens, [3, 7]);
    assert_eq!(parse(json!({"eos_token_id": 5})).stop_tokens, [5]);
    assert_eq!(parse(json!({"eos_token_id": null})).stop_tokens, [0u32; 0]);
}

/// A config of a golden case with changes.
fn of_case(case: &str, changes: Value) -> Result<Config, String> {
    let mut config: Value = serde_json::from_str(&parts(case).0).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    Config::parse("config.json", &config.to_string()).map_err(|e| e.to_string())
}

#[test]
fn qwen2_has_biases_whatever_its_config_says() {
    for changes in [json!({}), json!({"attention_bias": false})] {
        let config = of_case("qwen2-bias", changes).unwrap();
        assert_eq!((config.family, config.attention_bias, config.dims.head_dim), (Family::Qwen2, true, 8));
    }
    let sliding = json!({"use_sliding_window": true, "sliding_window": 4, "max_window_layers": 1,
        "layer_types": null});
    assert_eq!(of_case("qwen2-bias", sliding).unwrap().windows, [None, Some(4)]);
    assert_eq!(
        of_case("qwen2-bias", json!({"rope_theta": null})).unwrap_err(),
        "config.json: rope_theta: expected a \
        number above 1 here or in rope_parameters, found nothing; correct the file"
    );
}

#[test]
fn llama_takes_what_its_first_configs_left_out() {
    let config = of_case("llama3-rope", json!({})).unwrap();
    let (factor, low, high, original_context) = (8.0, 1.0, 4.0, 32);
    assert_eq!(config.rope.scaling, Scaling::Llama3 { factor, low, high, original_context });
    assert_eq!((config.family, config.attention_bias, config.tied), (Family::Llama, false, false));
    let early = json!({"rope_parameters": null, "num_key_value_heads": null, "head_dim": null});
    let early = of_case("llama3-rope", early).unwrap();
    assert_eq!((early.rope.theta, early.rope.scaling), (10_000.0, Scaling::None));
    assert_eq!((early.dims.kv_heads, early.dims.head_dim), (4, 16));
    for flag in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        assert_eq!(
            of_case("llama3-rope", json!({flag: true})).unwrap_err(),
            format!("config.json: {flag} true for Llama is not supported (supported: false)")
        );
    }
}
