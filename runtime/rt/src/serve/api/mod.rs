//! What each path does.
//!
//! In: requests whose size and key were checked. Out: answers. Invariant: a handler reads, asks and writes; how the
//! model runs is `schedule`'s matter, what stands in JSON `wire`'s.

pub mod answers;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod stream;
pub mod tokens;
pub mod whatis;

use axum::body::Bytes;
use axum::http::{header, HeaderMap, StatusCode};
use serde_json::Value;

use crate::serve::refusal::Refusal;

/// The JSON of a body. A browser's form of some page cannot pass for a request.
pub fn json(headers: &HeaderMap, body: &Bytes) -> Result<Value, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !kind.ends_with("+json") {
        let message = format!("the body must be JSON: send 'Content-Type: application/json', found {kind:?}");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    serde_json::from_slice(body).map_err(|e| Refusal::bad("", format!("the body is not valid JSON: {e}")))
}

/// Runs what takes a while without holding up other connections.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error; please report it");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
