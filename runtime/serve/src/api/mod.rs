//! Handlers of the paths.
//!
//! In: requests whose key was checked. Out: answers. Invariant: a handler reads, asks and writes; how the
//! model runs is `schedule`'s matter, what stands in JSON `wire`'s.

pub mod answers;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod models;
pub mod stream;
pub mod tokens;

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{header, HeaderMap, StatusCode};
use serde_json::Value;

use crate::body::Load;
use crate::refusal::Refusal;
use crate::state::Server;

/// A request's body, read within its limits.
pub struct Asked {
    /// The body.
    pub value: Value,
    /// To be dropped when it has become a prompt.
    pub load: Load,
}

impl FromRequest<Arc<Server>> for Asked {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Asked, Refusal> {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        let (bytes, load) = server.bodies().read(body, length.and_then(|l| l.parse().ok())).await?;
        is_plain(&parts.headers)?;
        is_json(&parts.headers)?;
        let large = load.is_large();
        let read = move || {
            let wrong = |e| Refusal::bad("", format!("the body is not valid JSON: {e}"));
            Ok(Asked { value: serde_json::from_slice(&bytes).map_err(wrong)?, load })
        };
        if large {
            aside(read).await
        } else {
            read()
        }
    }
}

/// Refuses bodies that are compressed, or encoded otherwise.
fn is_plain(headers: &HeaderMap) -> Result<(), Refusal> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let text = value.to_str().unwrap_or("unreadable");
        let other =
            text.split(',').map(str::trim).find(|c| !c.is_empty() && !c.eq_ignore_ascii_case("identity"));
        if let Some(coding) = other {
            let message = format!(
                "bodies are taken as they are, found 'Content-Encoding: {coding}'; send it unencoded"
            );
            return Err(
                Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).code("unsupported_encoding")
            );
        }
    }
    Ok(())
}

/// A browser's form of some page cannot pass for a request.
fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return Ok(());
    }
    let message = format!("the body must be JSON: send 'Content-Type: application/json', found {kind:?}");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Runs what takes a while without holding up other connections.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; please report it");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
