//! The chat page: the files of `page/`, as they are, in every executable.
//!
//! In: the name of a file. Out: HTML, CSS or JavaScript. Invariant: a browser lets the page load nothing but these files,
//! connect to no other server, and stand in no other page; they say nothing of the model, so they need no key.

use axum::extract::Path;
use axum::http::{header, HeaderName, Uri};
use axum::response::{IntoResponse, Response};

use crate::refusal::no_such_path;

/// Headers whose rules a browser enforces on the page.
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

/// The scripts and their names below `/page/`.
const SCRIPTS: [(&str, &str); 13] = [
    ("main.js", include_str!("page/main.js")),
    ("chat.js", include_str!("page/chat.js")),
    ("dom.js", include_str!("page/dom.js")),
    ("files.js", include_str!("page/files.js")),
    ("inline.js", include_str!("page/inline.js")),
    ("markdown.js", include_str!("page/markdown.js")),
    ("messages.js", include_str!("page/messages.js")),
    ("server.js", include_str!("page/server.js")),
    ("settings.js", include_str!("page/settings.js")),
    ("side.js", include_str!("page/side.js")),
    ("store.js", include_str!("page/store.js")),
    ("tex.js", include_str!("page/tex.js")),
    ("tex-symbols.js", include_str!("page/tex-symbols.js")),
];

/// `/`.
pub async fn html() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// `/page/{name}`.
pub async fn part(Path(name): Path<String>, uri: Uri) -> Response {
    if name == "page.css" {
        return file("text/css; charset=utf-8", include_str!("page/page.css")).into_response();
    }
    match SCRIPTS.iter().find(|(script, _)| *script == name) {
        Some((_, text)) => file("text/javascript; charset=utf-8", text).into_response(),
        None => no_such_path(uri).await.into_response(),
    }
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    (RULES, [(header::CONTENT_TYPE, kind)], text)
}
