//! Formats of answers: `response_format`, and the tools that may or must be called.
//!
//! In: fields. Out: a shape to keep to, tools. Invariant: sizes and depths are bounded before anything is built.

use serde_json::{json, Value};

use crate::constrain::Shape;
use crate::refusal::Refusal;
use crate::wire::fields::{wrong, Fields};

/// Most functions.
const MOST_TOOLS: usize = 128;
/// Deepest schema.
const DEEPEST: usize = 64;
/// Longest schema, regex or grammar in bytes.
const LONGEST: usize = 256 << 10;
/// Longest name of a function.
const LONGEST_NAME: usize = 64;

/// Tools that the model may call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// Tool definitions for the template, unchanged; empty if no tool may be called.
    pub shown: Vec<Value>,
    /// Calls that must come.
    pub must: Option<Shape>,
}

/// Reads `response_format`.
pub fn response_format(fields: &mut Fields) -> Result<Option<Shape>, Refusal> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(None) };
    let kind = format.text("type")?.ok_or_else(|| format.missing("type"))?;
    let shape = match kind.as_str() {
        "text" => None,
        "json_object" => Some(Shape::Json(json!({"type": "object"}))),
        "json_schema" => {
            let mut named = format.object("json_schema")?.ok_or_else(|| format.missing("json_schema"))?;
            named.text("name")?;
            named.text("description")?;
            named.boolean("strict")?;
            let path = named.path("schema");
            let schema = named.any("schema").ok_or_else(|| named.missing("schema"))?;
            named.finish()?;
            Some(Shape::Json(checked(schema, &path)?))
        }
        "regex" => Some(Shape::Regex(text(&mut format, "regex")?)),
        "grammar" => Some(Shape::Lark(text(&mut format, "grammar")?)),
        other => {
            let known = "text, json_object, json_schema, regex or grammar";
            let message = format!("'response_format.type' must be {known}, found {other:?}");
            return Err(Refusal::bad("response_format.type", message));
        }
    };
    format.finish()?;
    Ok(shape)
}

fn text(format: &mut Fields, name: &'static str) -> Result<String, Refusal> {
    let text = format.text(name)?.ok_or_else(|| format.missing(name))?;
    if text.len() > LONGEST {
        let path = format.path(name);
        let message = format!("'{path}' may have at most {LONGEST} bytes, found {}", text.len());
        return Err(Refusal::bad(path, message));
    }
    Ok(text)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A schema within bounds.
fn checked(schema: Value, path: &str) -> Result<Value, Refusal> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(wrong(path, "a JSON schema", &schema));
    }
    let (deep, long) = (depth(&schema), schema.to_string().len());
    if deep > DEEPEST {
        return Err(Refusal::bad(path, format!("'{path}' may be {DEEPEST} levels deep, found {deep}")));
    }
    if long > LONGEST {
        return Err(Refusal::bad(path, format!("'{path}' may have {LONGEST} bytes, found {long}")));
    }
    Ok(schema)
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub fn tools(fields: &mut Fields) -> Result<Tools, Refusal> {
    let shown = fields.list("tools", MOST_TOOLS)?.unwrap_or_default();
    let many = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    let mut functions = Vec::new();
    for (i, tool) in shown.iter().enumerate() {
        functions.push(function(tool.clone(), format!("tools[{i}]"))?);
    }
    let Some(choice) = fields.any("tool_choice") else { return Ok(Tools { shown, must: None }) };
    let chosen = match &choice {
        Value::String(word) => word.clone(),
        Value::Object(_) => {
            let name = named(choice.clone())?;
            let Some(one) = functions.into_iter().find(|f| f.0 == name) else {
                let message = format!("'tool_choice' names the function {name:?}, which is not in 'tools'");
                return Err(Refusal::bad("tool_choice", message));
            };
            return Ok(Tools { shown, must: Some(Shape::Calls(vec![one], false)) });
        }
        other => return Err(wrong("tool_choice", "a string or an object", other)),
    };
    match chosen.as_str() {
        "auto" => Ok(Tools { shown, must: None }),
        "none" => Ok(Tools::default()),
        "required" if functions.is_empty() => {
            Err(Refusal::bad("tool_choice", "'tool_choice' is \"required\" and there are no 'tools'"))
        }
        "required" => Ok(Tools { shown, must: Some(Shape::Calls(functions, many)) }),
        other => {
            let known = "\"none\", \"auto\", \"required\" or a function";
            Err(Refusal::bad("tool_choice", format!("'tool_choice' must be {known}, found {other:?}")))
        }
    }
}

/// Refuses another `type` than functions have, which may be left away.
pub fn is_function(fields: &mut Fields) -> Result<(), Refusal> {
    let kind = fields.text("type")?.unwrap_or_else(|| "function".into());
    if kind == "function" {
        return Ok(());
    }
    let path = fields.path("type");
    let message = format!("'{path}' must be \"function\", found {kind:?}");
    Err(Refusal::bad(path, message))
}

/// `{"type": "function", "function": {"name": …}}`.
fn named(choice: Value) -> Result<String, Refusal> {
    let mut fields = Fields::of(choice, "tool_choice")?;
    is_function(&mut fields)?;
    let mut function = fields.object("function")?.ok_or_else(|| fields.missing("function"))?;
    let name = function.text("name")?.ok_or_else(|| function.missing("name"))?;
    function.finish()?;
    fields.finish()?;
    Ok(name)
}

fn function(tool: Value, path: String) -> Result<(String, Value), Refusal> {
    let mut fields = Fields::of(tool, path)?;
    let kind = fields.text("type")?.ok_or_else(|| fields.missing("type"))?;
    if kind != "function" {
        let path = fields.path("type");
        let message = format!("'{path}' must be \"function\", found {kind:?}");
        return Err(Refusal::bad(path, message));
    }
    let mut function = fields.object("function")?.ok_or_else(|| fields.missing("function"))?;
    let name = function.text("name")?.ok_or_else(|| function.missing("name"))?;
    let usable = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(usable) {
        let path = function.path("name");
        let message = format!(
            "'{path}' must be 1 to {LONGEST_NAME} letters, digits, underscores, dashes and dots, found {name:?}"
        );
        return Err(Refusal::bad(path, message));
    }
    function.text("description")?;
    function.boolean("strict")?;
    let path = function.path("parameters");
    let parameters = function.any("parameters").unwrap_or_else(|| json!({"type": "object"}));
    function.finish()?;
    fields.finish()?;
    Ok((name, checked(parameters, &path)?))
}
