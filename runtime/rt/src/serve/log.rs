//! The request log: one line on standard error for each request whose answer was begun, when it has been sent or given up.
//!
//! In: a response. Out: the same response, whose end is logged. Invariant: a line holds time, method, route, status, bytes
//! and duration, and nothing that a client wrote: no prompt, no header, no key.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::Method;
use axum::response::Response;
use hyper::body::{Body as _, Frame, SizeHint};

use crate::serve::state::seconds;

/// The same response; its line is written when its body is dropped.
pub fn logged(response: Response, method: &Method, route: &str, begun: Instant) -> Response {
    let line = format!("{} {method} {route} {}", seconds(), response.status().as_u16());
    response.map(|body| Body::new(Logged { body, line, bytes: 0, ended: false, begun }))
}

/// A body that is counted.
struct Logged {
    body: Body,
    line: String,
    bytes: u64,
    ended: bool,
    begun: Instant,
}

impl hyper::body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64)
            }
            Poll::Ready(None) => self.ended = true,
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let end = if self.ended || self.body.is_end_stream() { "" } else { " (given up by the client)" };
        // A log that is gone stops no answer.
        let _ = writeln!(std::io::stderr(), "{} {} bytes {seconds:.3} s{end}", self.line, self.bytes);
    }
}
