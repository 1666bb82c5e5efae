//! Connections: taken, limited, ended in an orderly way.
//!
//! In: a bound socket, a router. Out: connections served until told to end. Invariant: a connection that says nothing,
//! or does not read, ends after a while; there are never more than the system lets us have, and one that is refused
//! by the system does not end the server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, Semaphore};
use tokio::time::{sleep, Instant, Sleep};

use crate::serve::state::Server;

/// To say what is wanted.
const HEADERS: Duration = Duration::from_secs(30);
/// To read the next bytes of an answer.
const WRITE: Duration = Duration::from_secs(60);
/// For answers under way when the server ends.
const LAST: Duration = Duration::from_secs(10);
/// Bytes of a head, and of what is read ahead.
const LARGEST_HEAD: usize = 64 << 10;
/// Files for everything but connections.
const OTHER_FILES: u64 = 64;
/// Most connections, however many files there may be.
const MOST: u64 = 4096;

/// Serves until `end`, then lets connections finish.
pub async fn serve(socket: TcpListener, router: Router, server: Arc<Server>, mut end: oneshot::Receiver<()>) {
    let room = Arc::new(Semaphore::new(most_connections()));
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
        // Small writes are tokens, which somebody waits for.
        let _ = stream.set_nodelay(true);
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(LARGEST_HEAD);
        let io = TokioIo::new(Impatient { stream, since: Box::pin(sleep(WRITE)), waits: false });
        let connection = http.serve_connection(io, TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            server.metrics.connections.inc();
            // What a client does wrong is its own matter.
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

/// As many as the process may have files, which is raised as far as it may be.
fn most_connections() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live local.
    let files = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 256;
        }
        let raised =
            libc::rlimit { rlim_cur: limit.rlim_max.min(MOST + OTHER_FILES).max(limit.rlim_cur), ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            raised.rlim_cur
        } else {
            limit.rlim_cur
        }
    };
    files.saturating_sub(OTHER_FILES).clamp(1, MOST) as usize
}

/// A stream that ends if nobody reads what is written.
struct Impatient {
    stream: TcpStream,
    since: Pin<Box<Sleep>>,
    waits: bool,
}

impl Impatient {
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
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
