//! The server: OpenAI's HTTP interface to the compiled model.
//!
//! In: a bound socket. Out: answers, until a signal. Invariant: one thread runs the model (`schedule`) and knows no
//! HTTP; the others know no engine. They meet in `schedule::job`. Nothing a client does ends the program.
//!
//! A request goes `listen` -> `routes` -> one of `api`, which reads it by `wire`, and has `schedule` answer it; tokens
//! come back through `words`, as `wire` writes them. `constrain` keeps answers to a format, in
//! processes of `sandbox`, `body` bodies to limits, `hosts` and `key` say
//! which requests are answered, `log` writes a line for each. `page`
//! is what a browser shows, `state` what all share.

pub mod api;
pub mod body;
pub mod constrain;
pub mod files;
pub mod hosts;
pub mod key;
mod listen;
mod log;
pub mod metrics;
mod page;
pub mod refusal;
pub mod routes;
pub mod sandbox;
pub mod schedule;
pub mod state;
pub mod wire;
pub mod words;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::oneshot;

use crate::state::Server;
use qwenc_engine::error::{Error, Result};

/// Threads for connections: they read and write, and wait.
const THREADS: usize = 2;
/// Threads that encode prompts and prepare formats, which takes a moment.
const PREPARING: usize = 4;

/// The threads that serve connections.
pub struct Web {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Web {
    /// Begins to serve. SIGTERM and SIGINT have the server drain from now on; a second one ends the program.
    /// At most `connections` are open at a time.
    pub fn start(socket: TcpListener, server: Arc<Server>, connections: usize) -> Result<Web> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(PREPARING)
            .enable_all()
            .build()
            .map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let (socket, signals) = {
            let _inside = runtime.enter();
            let socket = tokio::net::TcpListener::from_std(socket).map_err(refused)?;
            let terminate = signal(SignalKind::terminate()).map_err(refused)?;
            let interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
            (socket, [terminate, interrupt])
        };
        let (end, ended) = oneshot::channel();
        let serve = move || run(runtime, socket, signals, server, connections, ended);
        let thread = std::thread::Builder::new().name("server".into()).spawn(serve).map_err(refused)?;
        Ok(Web { end, thread })
    }

    /// Lets connections finish and ends the threads.
    pub fn end(self) {
        // A thread that panicked said so, and has nothing left to end.
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

fn run(
    runtime: Runtime,
    socket: tokio::net::TcpListener,
    signals: [Signal; 2],
    server: Arc<Server>,
    connections: usize,
    ended: oneshot::Receiver<()>,
) {
    let router = routes::router(Arc::clone(&server));
    let [mut terminate, mut interrupt] = signals;
    let watched = Arc::clone(&server);
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if watched.is_draining() {
                std::process::exit(130);
            }
            watched.drain();
        }
    });
    runtime.block_on(listen::serve(socket, router, server, connections, ended));
    // Threads that still read a prompt are not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
}

fn refused(source: std::io::Error) -> Error {
    Error::Server { reason: source.to_string() }
}
