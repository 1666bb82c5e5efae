//! `/tokenize` and `/detokenize`.
//!
//! In: a text or a conversation; ids. Out: ids; a text. Invariant: the ids are those that the model would be given.

use std::sync::Arc;

use axum::extract::State;
use axum::Json;
use serde_json::{json, Value};

use crate::api::chat::render;
use crate::api::Asked;
use crate::refusal::Refusal;
use crate::state::Server;
use crate::wire::completion::ids;
use crate::wire::fields::Fields;
use crate::wire::messages;
use qwenc_text::template::Conversation;
use qwenc_text::tokenizer::Controls;

/// Most ids to make a text of.
const MOST_IDS: usize = 1 << 20;

/// Longest text to make tokens of, in bytes.
const LONGEST: usize = 1 << 20;

/// Text to tokenise: plain, or a conversation.
enum Source {
    /// A text, with the name of its field.
    Text(String, &'static str),
    Conversation(Vec<Value>),
}

/// `{"content": text}` or `{"messages": […]}` to `{"tokens": […], "count": n}`.
pub async fn tokenize(
    State(server): State<Arc<Server>>,
    Asked { value, load }: Asked,
) -> Result<Json<Value>, Refusal> {
    let mut fields = Fields::of(value, "")?;
    fields.text("model")?;
    let source = source(&mut fields)?;
    let specials = fields.boolean("parse_special")?.unwrap_or(true);
    fields.finish()?;
    let tokens = super::aside(move || {
        let _load = load;
        let model = server.model()?;
        match source {
            Source::Text(text, field) => {
                check_length(&text, field)?;
                let tokenizer = &model.tokenizer;
                let literal = || tokenizer.encode(&text, Controls::Literal);
                Ok(if specials { tokenizer.encode_prompt(&text) } else { literal() }?)
            }
            Source::Conversation(messages) => {
                let rendered = render(model, &Conversation { messages, ..Conversation::default() })?;
                check_length(&rendered.text(), "messages")?;
                Ok(rendered.encode(&model.tokenizer)?.ids)
            }
        }
    })
    .await?;
    Ok(Json(json!({"count": tokens.len(), "tokens": tokens})))
}

fn source(fields: &mut Fields) -> Result<Source, Refusal> {
    let (content, prompt) = (fields.text("content")?, fields.text("prompt")?);
    let messages = fields.has("messages").then(|| messages::read(fields)).transpose()?;
    // A field that is null was not read.
    fields.without_effect(&["messages"]);
    match (content, prompt, messages) {
        (Some(text), None, None) => Ok(Source::Text(text, "content")),
        (None, Some(text), None) => Ok(Source::Text(text, "prompt")),
        (None, None, Some(messages)) => Ok(Source::Conversation(messages)),
        (None, None, None) => {
            let missing = Refusal::bad("content", "you must provide 'content' or 'messages'");
            Err(missing.code("missing_required_parameter"))
        }
        (_, _, messages) => {
            let field = if messages.is_some() { "messages" } else { "prompt" };
            Err(Refusal::bad(
                field,
                format!("'{field}' beside a text: provide one of 'content' and 'messages'"),
            ))
        }
    }
}

/// A text may be longer than fits in the context: how much longer is what one wants to know.
fn check_length(text: &str, field: &str) -> Result<(), Refusal> {
    if text.len() <= LONGEST {
        return Ok(());
    }
    let found = text.len();
    let message = format!("'{field}' may have at most {LONGEST} bytes, found {found}; send it in parts");
    Err(Refusal::bad(field, message).code("context_length_exceeded"))
}

/// `{"tokens": […]}` to `{"content": text}`.
pub async fn detokenize(
    State(server): State<Arc<Server>>,
    Asked { value, load }: Asked,
) -> Result<Json<Value>, Refusal> {
    let mut fields = Fields::of(value, "")?;
    fields.text("model")?;
    let tokens = ids(&fields.list("tokens", MOST_IDS)?.ok_or_else(|| fields.missing("tokens"))?, "tokens")?;
    fields.finish()?;
    let text = super::aside(move || {
        let _load = load;
        let model = server.model()?;
        model.check_tokens(&tokens, "tokens")?;
        Ok(model.tokenizer.decode(&tokens))
    })
    .await?;
    Ok(Json(json!({ "content": text })))
}
