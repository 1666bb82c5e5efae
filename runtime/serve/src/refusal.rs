//! Why a request is refused, in OpenAI's shape.
//!
//! In: facts. Out: a status and `{"error": {message, type, param, code}}`. Invariant: the message says what was
//! expected, what was found and what to do; nothing of the server's inside is shown.

use axum::http::{header, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::Json;
use serde_json::{json, Value};

use qwenc_engine::error::Error;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Message for people.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// Code for programs.
    pub code: Option<&'static str>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A request that makes no sense.
    pub fn bad(param: impl Into<String>, message: impl Into<String>) -> Refusal {
        let param = Some(param.into()).filter(|p| !p.is_empty());
        Refusal { param, ..Refusal::new(StatusCode::BAD_REQUEST, message) }
    }

    /// With this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// With a code for programs.
    pub fn code(self, code: &'static str) -> Refusal {
        Refusal { code: Some(code), ..self }
    }

    /// To be tried again.
    pub fn later(status: StatusCode, seconds: u32, message: impl Into<String>) -> Refusal {
        Refusal { retry_after: Some(seconds), ..Refusal::new(status, message) }
    }

    /// OpenAI's name of the kind of error.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Refusal {
        match e {
            Error::Constraint { .. } => Refusal::bad("response_format", e.to_string()),
            Error::Busy { .. } => {
                Refusal::later(StatusCode::TOO_MANY_REQUESTS, 5, e.to_string()).code("overloaded")
            }
            Error::Template(_) => Refusal::bad("messages", e.to_string()),
            Error::TokenRange { .. } => Refusal::bad("prompt", e.to_string()),
            Error::Usage(_) => Refusal::bad("", e.to_string()),
            other => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}

/// The refusal of a path that the server does not have.
pub(crate) async fn no_such_path(uri: Uri) -> Refusal {
    let message = format!("there is nothing at {}; /openapi.json says what there is", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, message).code("unknown_url")
}
