//! Which path is answered by what, and what every request has to pass before.
//!
//! In: the server. Out: a router. Invariant: nothing is read beyond the limit; without the key only `/health` answers;
//! every refusal has OpenAI's shape.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{to_bytes, Body};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{header, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::Router;
use tokio::time::timeout;

use crate::serve::api::{chat, completions, embeddings, tokens, whatis};
use crate::serve::refusal::Refusal;
use crate::serve::state::Server;

/// Largest body in bytes.
const LARGEST_BODY: usize = 8 << 20;
/// To send it.
const SENDING: Duration = Duration::from_secs(30);

/// All paths.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::chat))
        .route("/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(whatis::models))
        .route("/v1/models/{name}", get(whatis::model))
        .route("/models", get(whatis::models))
        .route("/health", get(whatis::health))
        .route("/metrics", get(whatis::metrics))
        .route("/openapi.json", get(whatis::openapi))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&server), entrance))
        .with_state(server)
}

async fn no_such_path(request: Request) -> Refusal {
    let message = format!("there is nothing at {}; /openapi.json says what there is", request.uri().path());
    Refusal::new(StatusCode::NOT_FOUND, message).code("unknown_url")
}

async fn no_such_method(method: Method, request: Request) -> Refusal {
    let message = format!("{} cannot be asked with {method}", request.uri().path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_supported")
}

/// Asks for the key, reads the body, counts.
async fn entrance(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("other", |p| p.as_str()).to_owned();
    let response = if path == "/health" || is_allowed(&server, &request) {
        match whole(request).await {
            Ok(request) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    } else {
        let message = "this server wants its API key: send 'Authorization: Bearer KEY'";
        Refusal::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key").into_response()
    };
    let status = response.status();
    server.metrics.requests.with_label_values(&[path.as_str(), status.as_str()]).inc();
    response
}

/// The request with all of its body.
async fn whole(request: Request) -> Result<Request, Refusal> {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let too_long = || {
        let message = format!("the body is longer than {LARGEST_BODY} bytes, or was broken off");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if length.and_then(|l| l.parse::<u64>().ok()).is_some_and(|l| l > LARGEST_BODY as u64) {
        return Err(too_long());
    }
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    let bytes = timeout(SENDING, to_bytes(body, LARGEST_BODY)).await.map_err(late)?;
    let bytes = bytes.map_err(|_| too_long())?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

fn is_allowed(server: &Server, request: &Request) -> bool {
    let Some(key) = &server.api_key else { return true };
    let said = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let said = said.strip_prefix("Bearer ").unwrap_or_default().as_bytes();
    // As long for a key that is nearly right as for any other.
    let differ = said.iter().zip(key.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    said.len() == key.len() && differ == 0
}
