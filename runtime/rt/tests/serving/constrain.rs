//! Formats that can be enforced, formats that are refused, and the meaning of masks.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;

use crate::answers::tokenizer;
use qwenc_rt::error::Error;
use qwenc_rt::serve::constrain::{Constraint, Constraints, Shape};
use qwenc_rt::text::tokenizer::Controls;

const ROWS: usize = 2048;
const END: u32 = 2039;

/// Formats of the small vocabulary, and what runs their tasks.
fn formats() -> (Constraints, Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (Constraints::new(&Constraints::sandbox().unwrap(), &Arc::new(tokenizer()), ROWS, &[END]), runtime)
}

/// Waits until it is known what may follow.
fn ready(constraint: &mut Constraint) {
    while !constraint.is_ready() {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Whether the answer may be exactly this text; with `<think>` before it where `opened` allows it.
fn may_be(
    (constraints, runtime): &(Constraints, Runtime),
    shape: &Shape,
    opened: Option<bool>,
    text: &str,
) -> bool {
    let tokenizer = tokenizer();
    let mut constraint = runtime.block_on(constraints.start(shape, opened)).unwrap();
    let ids = tokenizer.encode(text, Controls::Parsed).unwrap();
    for (i, &id) in ids.iter().enumerate() {
        let allowed = constraint.allowed().unwrap();
        let may = allowed.words().is_none_or(|w| w[id as usize / 32] >> (id % 32) & 1 == 1);
        if !may {
            return false;
        }
        constraint.push(id);
        ready(&mut constraint);
        if constraint.is_over().unwrap() {
            return i + 1 == ids.len();
        }
    }
    let last = constraint.allowed().unwrap();
    last.words().is_some_and(|w| w[END as usize / 32] >> (END % 32) & 1 == 1)
}

#[test]
fn masks_mean_what_they_say() {
    let all = formats();
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "s": {"type": "string"}},
        "required": ["a"], "additionalProperties": false});
    let json = Shape::Json(schema);
    for (text, may) in [
        ("{\"a\": 12}", true),
        ("{\"a\":-1, \"s\": \"é 語 \\n\"}", true),
        ("{\"a\": 1.5}", false),
        ("{\"s\": \"x\"}", false),
        ("{\"a\": 12", false),
        ("{\"a\": 1}x", false),
        ("{\"s\": \"<tool_call>\"}", false),
        ("hello", false),
        ("", false),
        ("<think>\nhm</think>{\"a\": 1}", false),
    ] {
        assert_eq!(may_be(&all, &json, None, text), may, "{text}");
    }
    // Thinking comes first, and only first.
    assert!(may_be(&all, &json, Some(false), "<think>\nany {\n</think>{\"a\": 1}"));
    assert!(may_be(&all, &json, Some(false), "{\"a\": 1}"));
    assert!(may_be(&all, &json, Some(true), "any</think>{\"a\": 1}"));
    assert!(!may_be(&all, &json, Some(true), "any</think>b"));
    assert!(!may_be(&all, &json, Some(false), "<think>\nnever ends"));
    assert!(!may_be(&all, &json, Some(false), "{<think>"));
    let regex = Shape::Regex("a+b?".into());
    assert!(may_be(&all, &regex, None, "aaab") && !may_be(&all, &regex, None, "aaabb"));
    let call = |many| Shape::Calls(vec![("f".into(), json!({"type": "object"}))], many);
    let one = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1]}}\n</tool_call>";
    let two = format!("{one}\n{one}");
    assert!(may_be(&all, &call(false), None, one) && may_be(&all, &call(true), None, one));
    assert!(may_be(&all, &call(true), None, &two));
    assert!(!may_be(&all, &call(true), None, &one.replace("\"f\"", "\"g\"")));
}

/// Schemas as pydantic, and people, write them.
#[test]
fn usual_schemas_are_enforced() {
    let all = formats();
    for schema in [
        json!({"title": "T", "type": "object", "properties": {"n": {"title": "N", "type": "string", "description": "d",
            "default": "x", "examples": ["y"]}}, "required": ["n"]}),
        json!({"$defs": {"P": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/P"},
            {"type": "null"}], "default": null}}}}, "$ref": "#/$defs/P"}),
        json!({"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 1, "maxItems": 3}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "pattern": "^[A-Z]{2}$"}),
        json!({"enum": [1, "two", null, true]}),
        json!({"type": ["string", "null"]}),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}),
        json!(true),
        json!({}),
    ] {
        all.1
            .block_on(all.0.start(&Shape::Json(schema.clone()), None))
            .map_err(|e| format!("{schema}: {e}"))
            .unwrap();
    }
}

/// References of a schema to itself mean the same wherever it stands.
#[test]
fn references_keep_their_meaning() {
    let all = formats();
    let tree = json!({"$id": "https://example.com/tree", "type": "object", "properties": {"enum": {"$ref": "#"}, "n": {"type": "integer"}},
        "required": ["n"], "additionalProperties": false});
    let list = json!({"$defs": {"item": {"const": {"$ref": "#"}}}, "type": "object", "properties": {"l": {"type": "array",
        "items": {"$ref": "#/$defs/item"}}, "first": {"$ref": "#/properties/l"}}, "additionalProperties": false});
    let flag = json!({"$defs": {"item": {"type": "boolean"}}, "type": "object", "properties": {"x": {"$ref": "#/$defs/item"}},
        "required": ["x"], "additionalProperties": false});
    let json = Shape::Json(tree.clone());
    assert!(may_be(&all, &json, None, "{\"enum\": {\"n\": 1}, \"n\": 2}"));
    assert!(!may_be(&all, &json, None, "{\"enum\": {\"n\": \"1\"}, \"n\": 2}"));
    assert!(!may_be(&all, &json, None, "{\"enum\": {}, \"n\": 2}"));
    let named = |name: &str, schema: &serde_json::Value| (name.to_owned(), schema.clone());
    let calls = Shape::Calls(vec![named("tree", &tree), named("list", &list), named("flag", &flag)], false);
    for (name, arguments, may) in [
        ("tree", "{\"enum\": {\"enum\": {\"n\": 0}, \"n\": 1}, \"n\": 2}", true),
        ("tree", "{\"enum\": {\"name\": \"tree\", \"n\": 1}, \"n\": 2}", false),
        ("list", "{\"l\": [{\"$ref\": \"#\"}], \"first\": []}", true),
        ("list", "{\"l\": [true]}", false),
        ("flag", "{\"x\": true}", true),
        ("flag", "{\"x\": {\"$ref\": \"#\"}}", false),
    ] {
        let call = format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>");
        assert_eq!(may_be(&all, &calls, None, &call), may, "{call}");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    let all = formats();
    for shape in [
        Shape::Json(json!({"type": "odd"})),
        Shape::Json(json!(false)),
        Shape::Json(json!({"$ref": "#/nowhere"})),
        Shape::Json(json!({"$ref": "#"})),
        Shape::Json(json!({"allOf": [{"$ref": "#"}]})),
        Shape::Json(json!({"$ref": "https://example.com/schema.json"})),
        Shape::Json(json!({"$ref": "file:///etc/passwd"})),
        Shape::Json(json!({"type": "integer", "minimum": 3, "maximum": 2})),
        Shape::Json(json!({"type": "object", "unevaluatedProperties": false})),
        Shape::Regex("(".into()),
        Shape::Regex("(?=a)b".into()),
        Shape::Lark("start: other".into()),
        Shape::Lark("start: start".into()),
    ] {
        match all.1.block_on(all.0.start(&shape, None)) {
            Ok(_) => panic!("{shape:?} was taken"),
            Err(e) => assert!(matches!(e, Error::Constraint { .. }), "{shape:?}: {e}"),
        }
    }
    let sandbox = Constraints::sandbox().unwrap();
    let none = Constraints::new(&sandbox, &Arc::new(tokenizer()), ROWS, &[]);
    let said = all.1.block_on(none.start(&Shape::Regex("a".into()), None)).err().unwrap().to_string();
    assert!(said.contains("stop token"), "{said}");
}
