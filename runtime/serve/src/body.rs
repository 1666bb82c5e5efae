//! Bodies of requests, within limits of size, time and memory.
//!
//! In: a body as it comes. Out: its bytes, and a [`Load`] to keep until something smaller was made of them. Invariant:
//! bodies that are being sent, or wait, take no more memory than their budget and a little for each connection; of large
//! ones only a few are worked on at a time, so that others are never held up.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::refusal::Refusal;

/// Largest body in bytes.
const LARGEST: usize = 8 << 20;
/// Bytes of a body that do not count: what is usual goes through whatever others send.
const FREE: usize = 32 << 10;
/// Bytes of all bodies together, beyond those.
const BUDGET: usize = 64 << 20;
/// From so many bytes on a body is a large one.
const LARGE: usize = 64 << 10;
/// Large ones that are worked on at a time.
const TURNS: usize = 2;
/// To send a body, and for a large one to wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Limits and memory that all bodies share.
pub struct Bodies {
    budget: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    patience: Duration,
}

/// A body's part of what all share.
#[derive(Debug)]
pub struct Load {
    _bytes: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Load {
    /// Whether it takes a while to work on.
    pub fn is_large(&self) -> bool {
        self.turn.is_some()
    }
}

impl Drop for Load {
    /// The memory that a large body took is given back to the system: it is not soon needed again.
    fn drop(&mut self) {
        if self.is_large() {
            // SAFETY: it touches only memory that is free.
            unsafe { libc::malloc_trim(0) };
        }
    }
}

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies {
            budget: Arc::new(Semaphore::new(BUDGET)),
            turns: Arc::new(Semaphore::new(TURNS)),
            patience: PATIENCE,
        }
    }
}

impl Bodies {
    /// All of a body, of which `said` bytes were announced.
    pub async fn read(&self, body: Body, said: Option<u64>) -> Result<(Bytes, Load), Refusal> {
        if said.is_some_and(|said| said > LARGEST as u64) {
            return Err(too_long());
        }
        let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
        let (bytes, permit) = timeout(self.patience, self.collect(body)).await.map_err(late)??;
        let turn = if bytes.len() > LARGE { Some(self.turn().await?) } else { None };
        Ok((bytes, Load { _bytes: permit, turn }))
    }

    async fn collect(&self, mut body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        let mut all = Vec::new();
        let mut held: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let broken = |_| Refusal::bad("", "the body was broken off");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if all.len() + data.len() > LARGEST {
                return Err(too_long());
            }
            all.extend_from_slice(&data);
            let counted = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = all.len().saturating_sub(FREE).saturating_sub(counted);
            let permit =
                Arc::clone(&self.budget).try_acquire_many_owned(more as u32).map_err(|_| crowded())?;
            match &mut held {
                Some(held) => held.merge(permit),
                None if more > 0 => held = Some(permit),
                None => {}
            }
        }
        Ok((all.into(), held))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = timeout(self.patience, Arc::clone(&self.turns).acquire_owned()).await;
        // It is never closed.
        turn.map_err(|_| crowded())?.map_err(|_| crowded())
    }
}

fn too_long() -> Refusal {
    let message = format!("the body is longer than {LARGEST} bytes, which is as long as it may be");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn crowded() -> Refusal {
    let message = "more large requests are under way than this server takes; try again later";
    Refusal::later(StatusCode::TOO_MANY_REQUESTS, 5, message).code("overloaded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    /// A body of these pieces, which then ends, or never does.
    struct Pieces(Vec<usize>, bool);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop() {
                Some(len) => Poll::Ready(Some(Ok(Frame::data(vec![b'x'; len].into())))),
                None if self.1 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn bodies() -> Bodies {
        Bodies { patience: Duration::from_millis(50), ..Bodies::default() }
    }

    fn pieces(sizes: &[usize], ends: bool) -> Body {
        Body::new(Pieces(sizes.iter().rev().copied().collect(), ends))
    }

    fn status<T>(read: Result<T, Refusal>) -> u16 {
        read.err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let bodies = bodies();
        for sizes in [&[][..], &[5, 7], &[1 << 20, 1 << 20]] {
            assert_eq!(status(bodies.read(pieces(sizes, false), None).await), 408);
            let (bytes, _) = bodies.read(pieces(sizes, true), None).await.unwrap();
            assert_eq!(bytes.len(), sizes.iter().sum::<usize>());
        }
        assert_eq!(bodies.budget.available_permits(), BUDGET, "who is refused gives back what it held");
    }

    #[tokio::test]
    async fn sizes_are_bounded_whatever_is_announced() {
        let bodies = bodies();
        assert_eq!(status(bodies.read(pieces(&[5], true), Some(LARGEST as u64 + 1)).await), 413);
        assert_eq!(status(bodies.read(pieces(&[LARGEST, 1], true), Some(5)).await), 413);
        assert_eq!(status(bodies.read(pieces(&[LARGEST - 1, 1], true), None).await), 200);
    }

    #[tokio::test]
    async fn the_usual_goes_through_whatever_others_send() {
        let bodies = bodies();
        let mut held = Vec::new();
        for _ in 0..BUDGET / (LARGEST - FREE) {
            held.push(bodies.collect(pieces(&[LARGEST], true)).await.unwrap());
        }
        assert_eq!(status(bodies.read(pieces(&[LARGEST], true), None).await), 429);
        assert_eq!(status(bodies.read(pieces(&[FREE], true), None).await), 200);
        held.pop();
        assert_eq!(status(bodies.read(pieces(&[LARGEST], true), None).await), 200);
    }

    #[tokio::test]
    async fn large_ones_take_turns() {
        let bodies = bodies();
        let one = || bodies.read(pieces(&[LARGE + 1], true), None);
        let (first, second) = (one().await.unwrap(), one().await.unwrap());
        assert_eq!(status(one().await), 429);
        assert_eq!(status(bodies.read(pieces(&[LARGE], true), None).await), 200);
        drop(first);
        assert_eq!(status(one().await), 200);
        drop(second);
    }
}
