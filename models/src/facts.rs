//! Facts in a config.json and a tokenizer.json, of supported models and others, for `qwenc inspect`.
//!
//! In: their texts. Out: names and values. Invariant: nothing is refused; what is not there is left out.

use serde_json::{Map, Value};

use crate::inspection::{fact, HeaderField};

/// Fields of config.json, and the facts that they are.
const FACTS: [(&str, &str); 9] = [
    ("model_type", "model type"),
    ("num_hidden_layers", "layers"),
    ("hidden_size", "hidden size"),
    ("intermediate_size", "MLP size"),
    ("num_attention_heads", "heads"),
    ("num_key_value_heads", "KV heads"),
    ("head_dim", "head size"),
    ("num_experts", "experts"),
    ("max_position_embeddings", "context"),
];

/// Facts of a config.json's fields.
pub(crate) fn of_config(config: &Map<String, Value>) -> Vec<HeaderField> {
    let shown = |value: &Value| -> String {
        match value {
            Value::String(text) => text.chars().filter(|c| !c.is_control()).take(100).collect(),
            other => other.to_string().chars().take(100).collect(),
        }
    };
    let architecture = config.get("architectures").and_then(|all| all.get(0)).filter(|v| v.is_string());
    let mut facts: Vec<HeaderField> =
        architecture.map(|name| fact("architecture", shown(name))).into_iter().collect();
    let stated = |(key, name): &(&str, &'static str)| {
        let value = config.get(*key).filter(|v| v.is_string() || v.is_number())?;
        Some(fact(name, shown(value)))
    };
    facts.extend(FACTS.iter().filter_map(stated));
    facts
}

/// The kind of vocabulary and its size.
pub(crate) fn of_tokenizer(tokenizer: Option<&str>) -> HeaderField {
    let json: Value = tokenizer.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let model = &json["model"];
    let count = match &model["vocab"] {
        Value::Object(ids) => ids.len(),
        Value::Array(tokens) => tokens.len(),
        _ => 0,
    };
    let added = json["added_tokens"].as_array().map_or(0, Vec::len);
    let words = match (tokenizer, model["type"].as_str()) {
        (None, _) => "none".to_string(),
        (Some(_), Some(kind)) => format!("{kind}, {count} tokens and {added} added ones"),
        (Some(_), None) => "of unknown kind".to_string(),
    };
    fact("tokenizer", words)
}
