//! Which path is answered by what, and what every request has to pass before.
//!
//! In: the server. Out: a router. Invariant: without the key only `/health` and the page's own files are given, which
//! say nothing of the model; every refusal has OpenAI's shape.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{header, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::Router;

use crate::serve::api::{chat, completions, embeddings, tokens, whatis};
use crate::serve::page;
use crate::serve::refusal::Refusal;
use crate::serve::state::Server;

/// What is given without a key.
const OPEN: [&str; 4] = ["/health", "/", "/page.css", "/page.js"];

/// All paths.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js))
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

/// Asks for the key, and counts.
async fn entrance(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("other", |p| p.as_str()).to_owned();
    let response = if OPEN.contains(&path.as_str()) || is_allowed(&server, &request) {
        next.run(request).await
    } else {
        let message = "this server wants its API key: send 'Authorization: Bearer KEY'";
        Refusal::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key").into_response()
    };
    let status = response.status();
    server.metrics.requests.with_label_values(&[path.as_str(), status.as_str()]).inc();
    if status == StatusCode::TOO_MANY_REQUESTS {
        server.metrics.refused.inc();
    }
    response
}

fn is_allowed(server: &Server, request: &Request) -> bool {
    let Some(key) = &server.api_key else { return true };
    let said = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let said = said.strip_prefix("Bearer ").unwrap_or_default().as_bytes();
    // As long for a key that is nearly right as for any other.
    let differ = said.iter().zip(key.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    said.len() == key.len() && differ == 0
}
