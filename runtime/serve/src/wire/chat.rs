//! A request for an answer in a conversation.
//!
//! In: the body. Out: [`ChatRequest`]. Invariant: as in `wire`.

use qwenc_abi::metadata::Metadata;
use serde_json::Value;

use crate::constrain::Shape;
use crate::refusal::Refusal;
use crate::wire::fields::{wrong, Fields};
use crate::wire::format::{self, Tools};
use crate::wire::messages;
use crate::wire::options::{self, Options};

/// A request.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// Messages in the form that the template takes.
    pub messages: Vec<Value>,
    /// Tools that may be called.
    pub tools: Tools,
    /// Format that the answer must keep to.
    pub shape: Option<Shape>,
    /// Most tokens of an answer.
    pub max_tokens: Option<usize>,
    /// Tokens to tell with each, where that is wanted.
    pub logprobs: Option<usize>,
    /// Given to the template.
    pub enable_thinking: Option<bool>,
    /// The rest.
    pub options: Options,
}

/// Reads the body.
pub fn read(body: Value, about: &Metadata) -> Result<ChatRequest, Refusal> {
    let mut fields = Fields::of(body, "")?;
    let options = options::read(&mut fields, about)?;
    let tools = format::tools(&mut fields)?;
    let shape = format::response_format(&mut fields)?;
    if shape.is_some() && tools.must.is_some() {
        let message = "'tool_choice' and 'response_format' both say what the answer must be; leave one away";
        return Err(Refusal::bad("tool_choice", message));
    }
    let newer = fields.whole("max_completion_tokens", 1..=i64::MAX)?;
    let older = fields.whole("max_tokens", 1..=i64::MAX)?;
    let request = ChatRequest {
        messages: messages::read(&mut fields)?,
        shape: tools.must.clone().or(shape),
        tools,
        max_tokens: newer.or(older).map(|n| n as usize),
        logprobs: logprobs(&mut fields)?,
        enable_thinking: thinking(&mut fields)?,
        options,
    };
    modalities(&mut fields)?;
    fields.unsupported(&[
        "functions",
        "function_call",
        "prediction",
        "audio",
        "verbosity",
        "web_search_options",
    ])?;
    fields.finish()?;
    Ok(request)
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, Refusal> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.whole("top_logprobs", 0..=20)?;
    if top.is_some() && !wanted {
        return Err(Refusal::bad(
            "top_logprobs",
            "'top_logprobs' means something only with 'logprobs': true",
        ));
    }
    Ok(wanted.then(|| top.unwrap_or(0) as usize))
}

/// Texts are all that this model answers with.
fn modalities(fields: &mut Fields) -> Result<(), Refusal> {
    match fields.any("modalities") {
        None => Ok(()),
        Some(Value::Array(list)) if list.iter().all(|kind| kind == "text") => Ok(()),
        Some(_) => Err(Refusal::bad(
            "modalities",
            "'modalities' must be [\"text\"]: this model answers with texts only",
        )),
    }
}

/// Thinking switch of the template: `chat_template_kwargs`, else `reasoning_effort`.
fn thinking(fields: &mut Fields) -> Result<Option<bool>, Refusal> {
    let effort = match fields.text("reasoning_effort")?.as_deref() {
        None => None,
        Some("none" | "minimal") => Some(false),
        Some("low" | "medium" | "high" | "xhigh" | "max") => Some(true),
        Some(other) => {
            let known = "none, minimal, low, medium, high, xhigh or max";
            let message = format!("'reasoning_effort' must be {known}, found {other:?}");
            return Err(Refusal::bad("reasoning_effort", message));
        }
    };
    let Some(mut arguments) = fields.object("chat_template_kwargs")? else { return Ok(effort) };
    let wanted = match arguments.any("enable_thinking") {
        None => None,
        Some(Value::Bool(wanted)) => Some(wanted),
        Some(other) => return Err(wrong("chat_template_kwargs.enable_thinking", "a boolean", &other)),
    };
    arguments.finish()?;
    Ok(wanted.or(effort))
}
