//! JSON schemas as llguidance takes them, and what of them it would not keep exactly.
//!
//! In: schemas as clients send them. Out: one schema with definitions. Invariant: what a `$ref` means does not change where
//! a schema moves; a number that llguidance would round is refused by its place in the schema.

use serde_json::{json, Map, Value};

/// Spaces and line breaks that may stand between two parts of JSON.
const SPACE: &str = "[ \\n]{0,20}";
/// Largest whole number up to which every whole number is a float, which llguidance computes bounds with.
const EXACT: u64 = 1 << 53;
/// Keywords whose numbers are bounds.
const BOUNDS: [&str; 5] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
/// Keywords whose values are data, not schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords whose values are schemas by name.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];

/// The first number of a schema that would not be kept exactly, with its place.
pub fn inexact(schema: &Value) -> Option<String> {
    number(schema, "", false)
}

/// The schemas that a grammar has behind `%json`.
pub fn within(grammar: &str) -> Vec<Value> {
    let schema = |rest: &str| serde_json::Deserializer::from_str(rest).into_iter().next()?.ok();
    // Each place for itself: a schema may hold the word too, in a text.
    grammar.match_indices("%json").filter_map(|(at, word)| schema(&grammar[at + word.len()..])).collect()
}

fn number(value: &Value, at: &str, names: bool) -> Option<String> {
    let map = match value {
        Value::Object(map) => map,
        Value::Array(items) => {
            return items.iter().enumerate().find_map(|(i, item)| number(item, &format!("{at}/{i}"), false))
        }
        _ => return None,
    };
    let one = |(key, value): (&String, &Value)| {
        let (at, word) = (format!("{at}/{key}"), key.as_str());
        if names {
            return number(value, &at, false);
        }
        if BOUNDS.contains(&word) {
            let beyond = is_beyond(value);
            let why = "whole numbers beyond 9007199254740992 (2^53) are not kept exactly in a bound";
            return beyond.then(|| format!("{value} at {at}: {why}"));
        }
        if word == "const" || word == "enum" {
            return datum(value, &at);
        }
        if DATA.contains(&word) {
            return None;
        }
        number(value, &at, BY_NAME.contains(&word))
    };
    map.iter().find_map(one)
}

/// Whether a number is larger than every number that llguidance keeps; one that was written as a float and reads as the
/// largest may have been a larger one.
fn is_beyond(value: &Value) -> bool {
    let whole = value.as_i64().map(i64::unsigned_abs).or(value.as_u64());
    whole.map_or_else(|| value.as_f64().is_some_and(|n| n.abs() >= EXACT as f64), |n| n > EXACT)
}

/// Whole numbers of data are exact as far as JSON's reader has them in 64 bits.
fn datum(value: &Value, at: &str) -> Option<String> {
    match value {
        Value::Number(n) if n.is_f64() && is_beyond(value) => {
            Some(format!("{value} at {at}: numbers of that size are not kept exactly; write a string"))
        }
        Value::Array(items) => items.iter().find_map(|item| datum(item, at)),
        Value::Object(map) => map.values().find_map(|item| datum(item, at)),
        _ => None,
    }
}

/// With bounded white space: a model that goes on with spaces would never end.
pub fn spaced(mut schema: Value, definitions: Map<String, Value>) -> Value {
    schema["$defs"] = definitions.into();
    schema["x-guidance"] = json!({"whitespace_pattern": SPACE});
    schema
}

/// Puts a schema among the definitions of another; gives what stands for it there.
pub fn defined(definitions: &mut Map<String, Value>, name: &str, schema: &Value) -> Value {
    let at = format!("#/$defs/{name}");
    let mut schema = moved(schema, &at, false);
    if let Value::Object(map) = &mut schema {
        // Names of a whole document, which it is no more.
        map.retain(|key, _| !["$id", "$schema"].contains(&key.as_str()));
    }
    definitions.insert(name.to_owned(), schema);
    json!({ "$ref": at })
}

/// A schema, or schemas by name, that now stand at `at`: what a `$ref` within means is the same as before.
fn moved(value: &Value, at: &str, names: bool) -> Value {
    let map = match value {
        Value::Object(map) => map,
        Value::Array(items) => return items.iter().map(|item| moved(item, at, false)).collect(),
        other => return other.clone(),
    };
    let one = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("$ref", Value::String(to)) if !names && to.starts_with('#') => {
                format!("{at}{}", to[1..].trim_end_matches('/')).into()
            }
            (word, value) if !names && DATA.contains(&word) => value.clone(),
            (word, value) if BY_NAME.contains(&word) => moved(value, at, !names),
            (_, value) => moved(value, at, false),
        };
        (key.clone(), value)
    };
    map.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_would_be_rounded_are_found() {
        for schema in [
            json!({"type": "integer", "minimum": 9007199254740993u64}),
            json!({"type": "integer", "maximum": -9007199254740993i64}),
            json!({"type": "integer", "exclusiveMinimum": 9223372036854775807i64}),
            json!({"type": "integer", "exclusiveMaximum": 18446744073709551615u64}),
            json!({"type": "number", "multipleOf": 1e17}),
            json!({"properties": {"minimum": {"minimum": 1e300}}}),
            json!({"$defs": {"a": {"anyOf": [{}, {"not": {"items": [{"maximum": 1e16}]}}]}}}),
            json!({"allOf": [{"if": {"minimum": 1e16}}]}),
            json!({"additionalProperties": {"patternProperties": {"a": {"minimum": -1e16}}}}),
            json!({"enum": [1, 1e30]}),
            json!({"const": {"a": [-1e25]}}),
        ] {
            let found = inexact(&schema);
            assert!(found.as_ref().is_some_and(|found| found.contains(" at /")), "{schema}: {found:?}");
        }
        for schema in [
            json!({"minimum": -9007199254740992i64, "maximum": 9007199254740992u64, "multipleOf": 0.1}),
            json!({"properties": {"minimum": {"type": "integer"}}, "default": 1e300, "examples": [1e300]}),
            json!({"enum": [9223372036854775807i64, 18446744073709551615u64], "const": 9007199254740993u64}),
            json!({"maxLength": 9007199254740993u64}),
            json!(true),
        ] {
            assert_eq!(inexact(&schema), None, "{schema}");
        }
        let grammar = "start: a %json {\"minimum\": 1} | %json\n{\"maximum\": 1e16} \"%json x\"";
        assert_eq!(within(grammar), [json!({"minimum": 1}), json!({"maximum": 1e16})]);
        let hidden = "start: %json {\"title\": \"%json\", \"minimum\": 9007199254740993}";
        assert!(within(hidden).iter().find_map(inexact).is_some());
    }
}
