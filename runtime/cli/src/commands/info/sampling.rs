//! Sampling defaults for `info`.
//!
//! In: the defaults. Out: facts, and lines of the table. Invariant: every value that is not neutral is shown with its
//! origin.

use serde_json::{json, Map, Value};

use super::{text, Rows};
use qwenc_abi::metadata::SamplingDefaults;

/// Values that chat and serve use, each with its origin.
pub(super) fn facts(all: &SamplingDefaults) -> Value {
    let values = [
        ("temperature", number(all.temperature)),
        ("top_k", json!(all.top_k)),
        ("top_p", number(all.top_p)),
        ("min_p", number(all.min_p)),
        ("repetition_penalty", number(all.repetition_penalty)),
        ("presence_penalty", number(all.presence_penalty)),
        ("frequency_penalty", number(all.frequency_penalty)),
        ("suppress_tokens", json!(all.suppress_tokens)),
        ("stop", json!(all.stop)),
        ("max_tokens", json!(all.max_tokens)),
    ];
    let mut facts = Map::new();
    for (name, value) in values {
        let origin = all.origins.get(name);
        facts.insert(name.to_owned(), json!({"value": value, "origin": origin}));
    }
    if let Some(other) = all.without_thinking {
        let other = json!({"temperature": number(other.temperature), "top_p": number(other.top_p)});
        facts.insert("without_thinking".to_owned(), other);
    }
    Value::Object(facts)
}

/// The shortest decimal number that is this float.
fn number(value: f32) -> Value {
    // What a finite float prints is a number.
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Lines of the table: values that something has set, those of one origin together.
pub(super) fn rows(facts: &Value) -> Rows {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (name, fact) in facts.as_object().into_iter().flatten() {
        let Some(origin) = fact["origin"].as_str() else { continue };
        let value = fact["value"].as_f64().map_or_else(|| text(&fact["value"]), |v| v.to_string());
        let shown = format!("{} {value}", name.replace('_', "-"));
        match groups.iter_mut().find(|(other, _)| other == origin) {
            Some((_, values)) => values.push(shown),
            None => groups.push((origin.to_owned(), vec![shown])),
        }
    }
    let mut lines: Vec<String> =
        groups.into_iter().map(|(origin, values)| format!("{} ({origin})", values.join(", "))).collect();
    if let Some(other) = facts.get("without_thinking") {
        lines
            .push(format!("temperature {}, top-p {} without thinking", other["temperature"], other["top_p"]));
    }
    if lines.is_empty() {
        lines.push("greedy".to_owned());
    }
    let names = std::iter::once("sampling").chain(std::iter::repeat(""));
    names.zip(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_abi::metadata::WithoutThinking;

    #[test]
    fn values_are_shown_with_their_origins() {
        let origin = |name: &str, from: &str| (name.to_owned(), from.to_owned());
        let all = SamplingDefaults {
            temperature: 0.6,
            top_k: 20,
            stop: vec!["END".into()],
            without_thinking: Some(WithoutThinking { temperature: 0.7, top_p: 0.8 }),
            origins: [
                origin("temperature", "family default"),
                origin("top_k", "family default"),
                origin("stop", "flag"),
            ]
            .into(),
            ..SamplingDefaults::default()
        };
        let facts = facts(&all);
        assert_eq!(facts["temperature"], json!({"value": 0.6, "origin": "family default"}));
        assert_eq!(facts["top_p"], json!({"value": 1.0, "origin": null}));
        let expected = [
            ("sampling", "temperature 0.6, top-k 20 (family default)".to_owned()),
            ("", "stop END (flag)".to_owned()),
            ("", "temperature 0.7, top-p 0.8 without thinking".to_owned()),
        ];
        assert_eq!(rows(&facts), expected);
        assert_eq!(rows(&super::facts(&SamplingDefaults::default())), [("sampling", "greedy".to_owned())]);
    }
}
