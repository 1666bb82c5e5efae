//! Processes for work on what clients send, when that work can take any amount of time, memory or stack.
//!
//! In: a job for each process. Out: a stream to it. Invariant: such a process may crash, hang or grow as it likes: it is
//! ended from outside, everything it had goes back to the system, and the server goes on. A fork server makes the
//! processes. It is forked before the server has other threads, so that a fork copies no lock that is held, and it
//! holds nothing of the model but what it is told.
//!
//! `fork_server` makes and ends the processes, `limits` are theirs, `frame` is how messages go.

mod fork_server;
pub mod frame;
pub mod limits;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qwenc_engine::error::{Error, Result};

/// Work of the sandbox processes.
pub trait Job: Sized {
    /// Made of the preparation that all processes share.
    fn prepare(preparation: &[u8]) -> std::result::Result<Self, String>;
    /// Works for one client until the stream ends.
    fn work(&self, stream: &UnixStream);
}

/// The way to the fork server.
pub struct Sandbox {
    control: Mutex<UnixStream>,
    process: libc::pid_t,
    next: AtomicU64,
    /// Bytes that the processes said they hold.
    held: AtomicI64,
}

/// One process; dropping this ends it.
pub struct Process {
    sandbox: Arc<Sandbox>,
    number: u64,
    /// Bytes that it said it holds.
    held: i64,
}

impl Sandbox {
    /// Forks the server. Call this before other threads are started.
    pub fn start<J: Job>() -> Result<Arc<Sandbox>> {
        let failed = |source: io::Error| Error::Server {
            reason: format!("cannot start the format process: {source}"),
        };
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        let silent = Silent::new();
        // A fork has the stack of the thread that forks: this one has the size that the processes need.
        let forked =
            std::thread::Builder::new().name("formats".into()).stack_size(limits::STACK).spawn(move || {
                // SAFETY: the child uses only memory and the control stream.
                match unsafe { libc::fork() } {
                    0 => fork_server::run::<J>(&theirs),
                    -1 => Err(io::Error::last_os_error()),
                    process => Ok(process),
                }
            });
        let process = forked.map_err(failed)?.join().map_err(|_| failed(io::ErrorKind::Other.into()))?;
        let process = process.map_err(failed)?;
        drop(silent);
        let (next, held) = (AtomicU64::new(0), AtomicI64::new(0));
        Ok(Arc::new(Sandbox { control: Mutex::new(control), process, next, held }))
    }

    /// Gives the preparation to the fork server, and waits until it is done.
    pub fn prepare(&self, preparation: &[u8]) -> std::result::Result<(), String> {
        let control = self.control();
        let asked = frame::write(&control, &[&[fork_server::PREPARE], preparation].concat());
        match asked.and_then(|()| frame::read(&control)) {
            Ok(Some(why)) if why.is_empty() => Ok(()),
            Ok(Some(why)) => Err(String::from_utf8_lossy(&why).into_owned()),
            Ok(None) => Err("the format process is gone; restart the server".into()),
            Err(e) => Err(format!("the format process does not answer: {e}; restart the server")),
        }
    }

    /// A new process and the stream to it.
    pub fn process(self: &Arc<Sandbox>) -> io::Result<(Process, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        frame::write_with(&self.control(), &message(fork_server::START, number), theirs.as_raw_fd())?;
        Ok((Process { sandbox: Arc::clone(self), number, held: 0 }, ours))
    }

    fn control(&self) -> MutexGuard<'_, UnixStream> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Hook = Box<dyn Fn(&PanicHookInfo) + Send + Sync>;

/// A panic hook that prints nothing, which the processes inherit; the hook before comes back when this is dropped. It is set
/// before the fork: the lock of the hook may be held by a thread that panics, and in a copy of this process nothing opens it.
struct Silent {
    hook: Option<Hook>,
    _turn: MutexGuard<'static, ()>,
}

impl Silent {
    fn new() -> Silent {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        Silent { hook: Some(hook), _turn: turn }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A thread that panics may not change the hook.
        if let Some(hook) = self.hook.take().filter(|_| !std::thread::panicking()) {
            panic::set_hook(hook);
        }
    }
}

impl Process {
    /// Notes that the process holds so many bytes; gives what all processes hold.
    pub fn holds(&mut self, bytes: i64) -> i64 {
        let more = bytes - std::mem::replace(&mut self.held, bytes);
        self.sandbox.held.fetch_add(more, Ordering::Relaxed) + more
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.holds(0);
        // A fork server that is gone has ended its processes.
        let _ = frame::write(&self.sandbox.control(), &message(fork_server::END, self.number));
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The end of the control stream ends the fork server.
        let _ = self.control().shutdown(std::net::Shutdown::Both);
        // SAFETY: it is our own child, which nothing else waits for.
        unsafe { libc::waitpid(self.process, std::ptr::null_mut(), 0) };
    }
}

fn message(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_le_bytes()].concat()
}
