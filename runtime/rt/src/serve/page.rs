//! The chat page: three files that are part of every executable.
//!
//! In: nothing. Out: HTML, CSS and JavaScript. Invariant: a browser lets the page load nothing but these files, talk to
//! nobody but this server, and stand in no other page; they say nothing of the model, so they need no key.

use axum::http::{header, HeaderName};
use axum::response::IntoResponse;

/// Rules that a browser keeps the page to.
const RULES: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// `/`.
pub async fn html() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// `/page.css`.
pub async fn css() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `/page.js`.
pub async fn js() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    (RULES, [(header::CONTENT_TYPE, kind)], text)
}
