//! Answers as server-sent events.
//!
//! In: answers, and how to write their news. Out: a body of lines. Invariant: at most a few lines wait for a reader; a
//! client that goes away ends the answers at once; `[DONE]` comes last, and only after answers that ended well.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{header, HeaderValue};
use axum::response::Response;
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

use crate::api::answers::{Answers, Delta};
use crate::wire::reply::Usage;

/// Lines that wait for a reader.
const WAITING: usize = 16;
/// After so long without news a line says that the server is there.
const SILENCE: Duration = Duration::from_secs(15);

/// Form of a response stream.
pub trait Style: Send + 'static {
    /// The chunks of some news.
    fn chunks(&mut self, delta: &Delta) -> Vec<Value>;
    /// The chunk that counts, if wanted.
    fn last(&self, usage: &Usage) -> Option<Value>;
}

/// Writes the answers as they come.
pub fn respond(answers: Answers, style: impl Style) -> Response {
    let (lines, body) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let readers = lines.clone();
        tokio::select! {
            // Dropping the answers frees their slots.
            () = readers.closed() => {}
            _ = pump(answers, style, lines) => {}
        }
    });
    let mut response = Response::new(Body::new(Lines(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Sends events until the answers end; `None`: the client has gone.
async fn pump(mut answers: Answers, mut style: impl Style, lines: Sender<Bytes>) -> Option<()> {
    loop {
        let Ok(news) = timeout(SILENCE, answers.next()).await else {
            lines.send(Bytes::from_static(b": waiting\n\n")).await.ok()?;
            continue;
        };
        match news {
            None => break,
            Some(Ok(delta)) => {
                for chunk in style.chunks(&delta) {
                    lines.send(line(&chunk)).await.ok()?;
                }
            }
            Some(Err(refusal)) => return lines.send(line(&refusal.body())).await.ok(),
        }
    }
    if let Some(chunk) = style.last(answers.usage()) {
        lines.send(line(&chunk)).await.ok()?;
    }
    lines.send(Bytes::from_static(b"data: [DONE]\n\n")).await.ok()
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// Lines as a body.
struct Lines(Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
