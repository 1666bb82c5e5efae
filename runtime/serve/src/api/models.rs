//! Models endpoint, health, metrics, the description of all paths.
//!
//! In: nothing. Out: answers that cost nothing. Invariant: they work while the model is busy; health while it loads too.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::Json;
use serde_json::{json, Value};

use crate::refusal::Refusal;
use crate::state::{Model, Server};

/// The description of all paths.
const OPENAPI: &str = include_str!("../openapi.json");

/// 503 while the model is loaded, or the server about to end.
pub async fn health(State(server): State<Arc<Server>>) -> Response {
    let status = match server.model() {
        _ if server.is_draining() => "ending",
        Ok(_) => return Json(json!({"status": "ok"})).into_response(),
        Err(_) => "loading",
    };
    let retry = [(header::RETRY_AFTER, "2")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, Json(json!({ "status": status }))).into_response()
}

/// Metrics in the form that Prometheus reads.
pub async fn metrics(State(server): State<Arc<Server>>) -> Result<Response, Refusal> {
    let failed = |e: prometheus::Error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let text = server.metrics.text().map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn about(model: &Model) -> Value {
    let known = &model.metadata.model;
    json!({
        "id": model.name, "object": "model", "created": model.created, "owned_by": "qwenc",
        "meta": {
            "context": model.context, "parameters": known.parameters, "weights": known.weight_type,
            "vocabulary": model.tokenizer.size(), "chat": model.template.is_some(),
        },
    })
}

/// The one that there is.
pub async fn models(State(server): State<Arc<Server>>) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({"object": "list", "data": [about(server.model()?)]})))
}

/// By name.
pub async fn model(
    State(server): State<Arc<Server>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let model = server.model()?;
    // A name that is no text names no model.
    let name = name.map_or_else(|_| "\u{fffd}".to_owned(), |Path(name)| name);
    if name != model.name {
        let message = format!("there is no model {name:?}; this server has {:?}", model.name);
        return Err(Refusal::new(StatusCode::NOT_FOUND, message).code("model_not_found"));
    }
    Ok(Json(about(model)))
}

/// OpenAPI 3.1, with what only this model can say as far as it is loaded.
pub async fn openapi(State(server): State<Arc<Server>>) -> Result<Json<Value>, Refusal> {
    let failed = |e: serde_json::Error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let mut document: Value = serde_json::from_str(OPENAPI).map_err(failed)?;
    if let Ok(model) = server.model() {
        let schemas = &mut document["components"]["schemas"];
        schemas["Token"]["maximum"] = model.last_token().into();
        for request in ["ChatRequest", "CompletionRequest", "EmbeddingRequest"] {
            let names = model.metadata.adapters.iter().map(|name| Value::from(name.as_str()));
            schemas[request]["properties"]["lora"]["enum"] = names.chain([Value::Null]).collect();
        }
    }
    Ok(Json(document))
}
