//! Connections: taken, limited, ended in an orderly way.
//!
//! In: a bound socket, a router. Out: connections served until told to end. Invariant: a connection that says nothing,
//! or does not read, ends after a while; there are never more than the system lets us have, and one that is refused
//! by the system does not end the server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::service::{service_fn, Service as _};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, Semaphore};
use tokio::time::{sleep, Instant, Sleep};

use crate::state::Server;

/// To say what is wanted.
const HEADERS: Duration = Duration::from_secs(30);
/// To read the next bytes of an answer.
const WRITE: Duration = Duration::from_secs(60);
/// For a client that sends nothing more to be found gone, rather than waiting for its answer.
const HALF_CLOSED: Duration = Duration::from_millis(500);
/// For answers under way when the server ends.
const LAST: Duration = Duration::from_secs(10);
/// Bytes of a head, and of what is read ahead.
const LARGEST_HEAD: usize = 64 << 10;
/// Serves at most `most` connections at a time until `end`, then lets them finish.
pub async fn serve(
    socket: TcpListener,
    router: Router,
    server: Arc<Server>,
    most: usize,
    mut end: oneshot::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(most));
    let connections = GracefulShutdown::new();
    loop {
        let place = tokio::select! {
            _ = &mut end => break,
            place = Arc::clone(&room).acquire_owned() => place,
        };
        let stream = tokio::select! {
            _ = &mut end => break,
            taken = socket.accept() => match taken {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Gone already, or the system is short of something: others end meanwhile.
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        // Small writes are tokens, which a client waits for.
        let _ = stream.set_nodelay(true);
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(LARGEST_HEAD);
        let asked = Arc::new(AtomicUsize::new(0));
        let io = TokioIo::new(Impatient::new(stream, Arc::clone(&asked)));
        let paths = TowerToHyperService::new(router.clone());
        let counted = service_fn(move |request| {
            let (asked, answer) = (Asked::new(&asked), paths.call(request));
            async move {
                let _asked = asked;
                answer.await
            }
        });
        let connection = http.serve_connection(io, counted);
        let connection = connections.watch(connection);
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            server.metrics.connections.inc();
            // An error of a connection concerns its client alone.
            let _ = connection.await;
            server.metrics.connections.dec();
            drop(place);
        });
    }
    drop(socket);
    tokio::select! {
        () = connections.shutdown() => {}
        () = sleep(LAST) => {}
    }
}

/// Counts a request as long as it is being answered.
struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn new(count: &Arc<AtomicUsize>) -> Asked {
        count.fetch_add(1, Ordering::Relaxed);
        Asked(Arc::clone(count))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that ends if nothing reads what is written. A client that sends nothing more may still read: while it is
/// answered, the end of what it sends is told only after [`HALF_CLOSED`] in which nothing was written.
struct Impatient {
    stream: TcpStream,
    since: Pin<Box<Sleep>>,
    waits: bool,
    /// Requests that are being answered.
    asked: Arc<AtomicUsize>,
    /// Writes since the last byte was read, and when the last was.
    writes: usize,
    written: Instant,
    /// The client has sent its last byte; when that is told.
    ended: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, asked: Arc<AtomicUsize>) -> Impatient {
        let written = Instant::now() - HALF_CLOSED;
        Impatient {
            stream,
            since: Box::pin(sleep(WRITE)),
            waits: false,
            asked,
            writes: 0,
            written,
            ended: None,
        }
    }

    /// Whether an answer is under way: it is being made, or comes in pieces, of which the first is no more than its head.
    fn is_answered(&self) -> bool {
        let streams = self.writes > 1 && self.written.elapsed() < HALF_CLOSED;
        streams || self.asked.load(Ordering::Relaxed) > 0
    }

    /// Ready when the end of a half-closed connection may be reported: [`HALF_CLOSED`] after it, or after the last write.
    fn tells_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = || Box::pin(sleep(HALF_CLOSED));
        let ended = self.ended.get_or_insert_with(until);
        let last = self.written + HALF_CLOSED;
        if last > ended.deadline() {
            ended.as_mut().reset(last);
        }
        ended.as_mut().poll(context).map(Ok)
    }

    fn watched<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !std::mem::replace(&mut self.waits, true) {
            self.since.as_mut().reset(Instant::now() + WRITE);
        }
        match self.since.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.is_some() {
            return self.tells_end(context);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let ended = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if ended && buffer.remaining() > 0 && self.is_answered() {
            return self.tells_end(context);
        }
        if buffer.filled().len() > before {
            self.writes = 0;
        }
        read
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            (self.writes, self.written) = (self.writes + 1, Instant::now());
        }
        self.watched(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
