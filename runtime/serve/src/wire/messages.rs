//! The messages of a conversation.
//!
//! In: OpenAI's messages. Out: those that a chat template takes: contents are texts, arguments of calls objects.
//! Invariant: no message is dropped, and none has a role that templates do not know.

use serde_json::{json, Map, Value};

use crate::refusal::Refusal;
use crate::wire::fields::{wrong, Fields};
use crate::wire::format::is_function;

/// Most messages.
pub const MOST_MESSAGES: usize = 4096;
/// Most parts of a content, and calls of a message.
const MOST_PARTS: usize = 1024;

/// Reads `messages`.
pub fn read(fields: &mut Fields) -> Result<Vec<Value>, Refusal> {
    let list = fields.list("messages", MOST_MESSAGES)?.ok_or_else(|| fields.missing("messages"))?;
    if list.is_empty() {
        return Err(Refusal::bad("messages", "'messages' is empty; give at least one"));
    }
    let one = |(i, message): (usize, Value)| message_at(message, format!("messages[{i}]"));
    list.into_iter().enumerate().map(one).collect()
}

fn message_at(message: Value, path: String) -> Result<Value, Refusal> {
    let mut fields = Fields::of(message, path)?;
    let role = fields.text("role")?.ok_or_else(|| fields.missing("role"))?;
    let content = content(&mut fields)?;
    let mut out = Map::new();
    let mut calls = Vec::new();
    match role.as_str() {
        "system" | "developer" | "user" => {}
        "assistant" => {
            calls = fields.list("tool_calls", MOST_PARTS)?.unwrap_or_default();
            if let Some(text) = fields.text("reasoning_content")? {
                out.insert("reasoning_content".into(), text.into());
            }
            fields.without_effect(&["refusal", "audio", "annotations", "function_call"]);
        }
        "tool" => {
            let id = fields.text("tool_call_id")?.ok_or_else(|| fields.missing("tool_call_id"))?;
            out.insert("tool_call_id".into(), id.into());
        }
        other => {
            let path = fields.path("role");
            let known = "system, developer, user, assistant or tool";
            let message = format!("'{path}' must be {known}, found {other:?}");
            return Err(Refusal::bad(path, message));
        }
    }
    if let Some(name) = fields.text("name")? {
        out.insert("name".into(), name.into());
    }
    if content.is_none() && calls.is_empty() && !out.contains_key("reasoning_content") {
        return Err(fields.missing("content"));
    }
    let path = fields.path("tool_calls");
    fields.finish()?;
    if !calls.is_empty() {
        let one = |(i, call): (usize, Value)| called(call, format!("{path}[{i}]"));
        let calls: Vec<Value> = calls.into_iter().enumerate().map(one).collect::<Result<_, _>>()?;
        out.insert("tool_calls".into(), calls.into());
    }
    // OpenAI's new name for the same role.
    let role = if role == "developer" { "system" } else { &role };
    out.insert("role".into(), role.into());
    out.insert("content".into(), content.unwrap_or_default().into());
    Ok(Value::Object(out))
}

/// A text, or parts of it joined.
fn content(fields: &mut Fields) -> Result<Option<String>, Refusal> {
    let path = fields.path("content");
    let parts = match fields.any("content") {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text)),
        Some(Value::Array(parts)) if parts.len() <= MOST_PARTS => parts,
        Some(Value::Array(parts)) => {
            let message = format!("'{path}' may have at most {MOST_PARTS} parts, found {}", parts.len());
            return Err(Refusal::bad(path, message));
        }
        Some(other) => return Err(wrong(&path, "a string or a list of parts", &other)),
    };
    let mut all = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let mut part = Fields::of(part, format!("{path}[{i}]"))?;
        let kind = part.text("type")?.ok_or_else(|| part.missing("type"))?;
        if kind != "text" {
            let path = part.path("type");
            let message = format!("'{path}' must be \"text\": this model reads texts only, found {kind:?}");
            return Err(Refusal::bad(path, message));
        }
        all += &part.text("text")?.ok_or_else(|| part.missing("text"))?;
        part.finish()?;
    }
    Ok(Some(all))
}

/// A call of an earlier answer. Templates write objects as JSON and texts as they are.
fn called(call: Value, path: String) -> Result<Value, Refusal> {
    let mut fields = Fields::of(call, path)?;
    let id = fields.text("id")?;
    is_function(&mut fields)?;
    fields.whole("index", i64::MIN..=i64::MAX)?;
    let mut function = fields.object("function")?.ok_or_else(|| fields.missing("function"))?;
    let name = function.text("name")?.ok_or_else(|| function.missing("name"))?;
    let text = function.text("arguments")?.unwrap_or_else(|| "{}".into());
    function.finish()?;
    fields.finish()?;
    let arguments: Value = match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => value,
        // A call without arguments, as some clients write it.
        _ if text.trim().is_empty() => json!({}),
        _ => text.into(),
    };
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_calls_in_the_history_are_objects() {
        let arguments = |text: &str| {
            let function = json!({"name": "f", "arguments": text});
            let call = json!({"id": "c", "type": "function", "function": function});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let message = message_at(message, "messages[0]".into()).ok().unwrap();
            message["tool_calls"][0]["function"]["arguments"].clone()
        };
        assert_eq!(arguments(""), json!({}));
        assert_eq!(arguments(" \n"), json!({}));
        assert_eq!(arguments(r#"{"a": [1]}"#), json!({"a": [1]}));
        assert_eq!(arguments("no JSON"), json!("no JSON"));
    }
}
