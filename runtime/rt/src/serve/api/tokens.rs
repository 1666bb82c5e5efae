//! `/tokenize` and `/detokenize`.
//!
//! In: a text or a conversation; ids. Out: ids; a text. Invariant: the ids are those that the model would be given.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::Json;
use serde_json::{json, Value};

use crate::serve::api::chat::render;
use crate::serve::refusal::Refusal;
use crate::serve::state::Server;
use crate::serve::wire::completion::ids;
use crate::serve::wire::fields::Fields;
use crate::serve::wire::messages;
use crate::text::template::Conversation;
use crate::text::tokenizer::Controls;

/// Most ids to make a text of.
const MOST_IDS: usize = 1 << 20;

/// `{"content": text}` or `{"messages": […]}` to `{"tokens": […], "count": n}`.
pub async fn tokenize(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let mut fields = Fields::of(super::json(&headers, &body)?, "")?;
    fields.text("model")?;
    let text = match fields.text("content")? {
        Some(text) => Some(text),
        None => fields.text("prompt")?,
    };
    let specials = fields.boolean("parse_special")?.unwrap_or(true);
    let messages = if text.is_none() { Some(messages::read(&mut fields)?) } else { None };
    fields.finish()?;
    let tokens = super::aside(move || {
        let tokenizer = &server.model()?.tokenizer;
        match (text, messages) {
            (Some(text), _) if specials => Ok(tokenizer.encode_prompt(&text)?),
            (Some(text), _) => Ok(tokenizer.encode(&text, Controls::Literal)?),
            (None, messages) => {
                let messages = messages.unwrap_or_default();
                Ok(render(&server, &Conversation { messages, ..Conversation::default() })?.ids)
            }
        }
    })
    .await?;
    Ok(Json(json!({"count": tokens.len(), "tokens": tokens})))
}

/// `{"tokens": […]}` to `{"content": text}`.
pub async fn detokenize(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let mut fields = Fields::of(super::json(&headers, &body)?, "")?;
    fields.text("model")?;
    let tokens = ids(&fields.list("tokens", MOST_IDS)?.ok_or_else(|| fields.missing("tokens"))?, "tokens")?;
    fields.finish()?;
    let text = super::aside(move || {
        let model = server.model()?;
        model.check_ids(&tokens, "tokens")?;
        Ok(model.tokenizer.decode(&tokens))
    })
    .await?;
    Ok(Json(json!({ "content": text })))
}
