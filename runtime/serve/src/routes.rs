//! Router of the server: the handler of each path, and the checks that every request has to pass before.
//!
//! In: the server. Out: a router. Invariant: hosts and origins are checked on every path; without the key only `/health` and
//! the page's own files are given, which say nothing of the model; every refusal has OpenAI's shape.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::Router;

use crate::api::{chat, completions, embeddings, models, tokens};
use crate::log::Waiting;
use crate::page;
use crate::refusal::{no_such_path, Refusal};
use crate::state::Server;

/// Paths that need no key.
const OPEN: [&str; 3] = ["/health", "/", "/page/{name}"];

/// All paths.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(page::html))
        .route("/page/{name}", get(page::part))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::models))
        // Names have slashes, as `ORG/NAME` has.
        .route("/v1/models/{*name}", get(models::model))
        .route("/models", get(models::models))
        .route("/health", get(models::health))
        .route("/metrics", get(models::metrics))
        .route("/openapi.json", get(models::openapi))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&server), entrance))
        .with_state(server)
}

async fn no_such_method(method: Method, request: Request) -> Refusal {
    let message = format!("{} cannot be asked with {method}", request.uri().path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_supported")
}

/// Checks host, origin and key, and counts.
async fn entrance(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    // The router's pattern for a parameter with slashes is `{*name}`; metrics, log and openapi.json have `{name}`.
    let path = request.extensions().get::<MatchedPath>().map_or("other", |p| p.as_str()).replace("{*", "{");
    let waiting = Waiting::new(&server, request.method(), &path);
    let response = match admitted(&server, &path, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        server.metrics.refused.inc();
    }
    waiting.answered(response)
}

/// Refuses a request for another host, of another host's page, or without the key.
fn admitted(server: &Server, path: &str, request: &Request) -> Result<(), Refusal> {
    let access = server.access();
    access.hosts.check(request.version(), request.uri(), request.headers())?;
    match &access.key {
        Some(key) if !OPEN.contains(&path) && !key.is_shown(request.headers()) => {
            let message = "this server wants its API key: send 'Authorization: Bearer KEY'";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
        }
        _ => Ok(()),
    }
}
