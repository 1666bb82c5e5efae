//! Answers that must be something, of a model that would rather say anything else.

use serde_json::{json, Value};

use crate::answers::{question, with};
use crate::mock::{free, metadata, model, tokenizer, Executable, ROWS};
use crate::site::Site;

/// A model with room for tools, in which nothing follows anything.
fn roomy() -> Site {
    let mut model = model();
    model.max_context = 4096;
    Site::new(Executable::new(model, &free(ROWS), &tokenizer("nano"), &metadata()), &[])
}

/// Formats are kept to whatever the model would rather say.
#[test]
fn formats_are_kept_to() {
    let site = roomy();
    let ask = |more: Value| {
        let body = with(question(), with(json!({"max_tokens": 200, "temperature": 1.0, "seed": 7}), more));
        let answer = site.ok("/v1/chat/completions", &body);
        (answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(), answer)
    };
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 17},
        "b": {"enum": ["x", "y"]}, "c": {"$ref": "#/$defs/flag"}}, "required": ["a", "b", "c"],
        "additionalProperties": false, "$defs": {"flag": {"type": "boolean"}}});
    let format =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let (text, answer) = ask(format);
    let value: Value = serde_json::from_str(&text).expect(&text);
    assert!((3..=17).contains(&value["a"].as_i64().unwrap()) && value["c"].is_boolean(), "{text}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let (text, _) = ask(json!({"response_format": {"type": "regex", "regex": "[0-9]{3}-[a-f]{2}"}}));
    assert!(text.len() == 6 && text.as_bytes()[3] == b'-', "{text}");
    let grammar = "start: \"yes\" | \"no\"";
    let (text, _) = ask(json!({"response_format": {"type": "grammar", "grammar": grammar}}));
    assert!(text == "yes" || text == "no", "{text}");
    let (_, said, _) = site.refused(
        "/v1/chat/completions",
        &with(question(), json!({"response_format": {"type": "regex", "regex": "[0-9"}})),
    );
    assert!(said.contains("cannot be kept"), "{said}");
}

#[test]
fn tools_that_must_be_called_are() {
    let site = roomy();
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "parameters":
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
             "required": ["n"], "additionalProperties": false}}})
    };
    let named = json!({"tools": [tool("f"), tool("g")], "temperature": 1.0, "seed": 7,
        "tool_choice": {"type": "function", "function": {"name": "g"}}});
    let body = with(question(), named);
    let answer = site.ok("/v1/chat/completions", &body);
    let choice = &answer["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!((calls.len(), &calls[0]["function"]["name"]), (1, &json!("g")));
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&Value::Null, &json!("tool_calls"))
    );
    assert!(calls[0]["id"].as_str().unwrap().starts_with("call_") && calls[0]["type"] == "function");
    let arguments = calls[0]["function"]["arguments"].as_str().unwrap();
    let value: Value = serde_json::from_str(arguments).unwrap();
    assert!((0..=9).contains(&value["n"].as_i64().unwrap()));
    let chunks = site.chunks("/v1/chat/completions", &body);
    let streamed: Vec<&Value> =
        chunks.iter().map(|c| &c["choices"][0]["delta"]["tool_calls"][0]).filter(|c| !c.is_null()).collect();
    assert_eq!((&streamed[0]["function"]["name"], &streamed[0]["index"]), (&json!("g"), &json!(0)));
    assert!(streamed.len() > 2 && streamed[1..].iter().all(|c| c.get("id").is_none()));
    let text: String = streamed.iter().filter_map(|c| c["function"]["arguments"].as_str()).collect();
    assert_eq!(text, arguments);
    assert_eq!(chunks[chunks.len() - 1]["choices"][0]["finish_reason"], "tool_calls");
    let any = json!({"tools": [tool("f"), tool("g")], "tool_choice": "required", "max_tokens": 100,
        "temperature": 1.0, "seed": 8});
    let answer = site.ok("/v1/chat/completions", &with(question(), any));
    assert!(!answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().is_empty());
    // The call and its result go back.
    let talk = json!([{"role": "user", "content": "hi"}, choice["message"],
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "3"}]);
    site.ok("/v1/chat/completions", &with(question(), json!({"messages": talk, "max_tokens": 1})));
}
