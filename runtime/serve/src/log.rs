//! The request log: one line on standard error for each request, when its answer has been sent or the client has given it up.
//!
//! In: a request, a response. Out: the same response, whose end is logged. Invariant: a line holds time, method, route, status,
//! bytes and duration, and nothing that a client wrote: no prompt, no header, no key.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::Method;
use axum::response::Response;
use hyper::body::{Body as _, Frame, SizeHint};

use crate::state::{seconds, Server};

/// Status of a request that the client gave up before its answer was begun; nginx's, since HTTP has none.
const CLIENT_CLOSED: u16 = 499;

/// A request without an answer so far.
pub struct Waiting<'a> {
    server: &'a Server,
    method: Method,
    route: String,
    begun: Instant,
    answered: bool,
}

impl<'a> Waiting<'a> {
    pub fn new(server: &'a Server, method: &Method, route: &str) -> Waiting<'a> {
        let (method, route) = (method.clone(), route.to_string());
        Waiting { server, method, route, begun: Instant::now(), answered: false }
    }

    /// The same response, counted; its line is written when its body is dropped.
    pub fn answered(mut self, response: Response) -> Response {
        self.answered = true;
        let status = response.status();
        self.count(status.as_str());
        if !self.server.access().log {
            return response;
        }
        let (line, begun) = (self.line(status.as_u16()), self.begun);
        response.map(|body| Body::new(Logged { body, line, bytes: 0, ended: false, begun }))
    }

    fn count(&self, status: &str) {
        self.server.metrics.requests.with_label_values(&[self.route.as_str(), status]).inc();
    }

    fn line(&self, status: u16) -> String {
        format!("{} {} {} {status}", seconds(), self.method, self.route)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        self.count(&CLIENT_CLOSED.to_string());
        if self.server.access().log {
            write(&self.line(CLIENT_CLOSED), 0, self.begun, GIVEN_UP);
        }
    }
}

/// End of the line of an answer that was not sent to its end.
const GIVEN_UP: &str = " (given up by the client)";

fn write(line: &str, bytes: u64, begun: Instant, end: &str) {
    let seconds = begun.elapsed().as_secs_f64();
    // A log that is gone stops no answer.
    let _ = writeln!(std::io::stderr(), "{line} {bytes} bytes {seconds:.3} s{end}");
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
        let end = if self.ended || self.body.is_end_stream() { "" } else { GIVEN_UP };
        write(&self.line, self.bytes, self.begun, end);
    }
}
