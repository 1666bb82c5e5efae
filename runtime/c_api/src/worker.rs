//! The thread that owns a model's engine and caches, and does what other threads ask for, in order.
//!
//! In: jobs. Out: their results. Invariant: engine and caches are made, used and dropped on this thread alone, which
//! is what a GPU's context and pinned threads want. After a panic nothing is done any more, and every call says so.

use std::collections::HashMap;
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender};
use std::thread::JoinHandle;

use crate::border;
use crate::callback;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::engine::Engine;
use qwenc_engine::inference::session::Session;

/// State that jobs work on: engine and caches.
pub(super) struct Desk<'a> {
    pub(super) engine: Engine<'a>,
    /// By the number in a cache's handle.
    pub(super) caches: HashMap<u64, Session>,
    /// Caches made so far.
    pub(super) made: u64,
}

/// Whether the thread goes on after it.
type Job = Box<dyn FnOnce(&mut Desk) -> bool + Send>;

/// A running thread.
pub(super) struct Worker {
    /// Sender of jobs; `None` only while being dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Jobs for the thread's engine, until no handle is left.
pub(super) struct Jobs(Receiver<Job>);

impl Jobs {
    /// Does them.
    pub(super) fn work(self, engine: Engine) {
        let mut desk = Desk { engine, caches: HashMap::new(), made: 0 };
        while self.0.recv().is_ok_and(|job| job(&mut desk)) {}
    }
}

impl Worker {
    /// Starts a thread that runs `open`, which is to say what it made and then to do the jobs.
    pub(super) fn start<T: Send + 'static>(
        open: impl FnOnce(&dyn Fn(T), Jobs) -> Result<()> + Send + 'static,
    ) -> Result<(Worker, T)> {
        let (jobs, todo) = channel();
        let (say, ready) = sync_channel(1);
        let thread = std::thread::Builder::new().name("qwen".into()).spawn(move || {
            let made = |value| drop(say.send(Ok(value)));
            if let Err(e) = border::caught(|| open(&made, Jobs(todo))) {
                // The caller has gone: the result has no reader.
                drop(say.send(Err(e)));
            }
        });
        let thread = thread.map_err(|source| Error::Thread { index: 0, source })?;
        let made = ready.recv().map_err(|_| ended())??;
        Ok((Worker { jobs: Some(jobs), thread: Some(thread) }, made))
    }

    /// Has a job done and waits for its result.
    pub(super) fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (send, done) = sync_channel(1);
        self.ask(job, move |result| drop(send.send(result)))?;
        done.recv().map_err(|_| ended())?
    }

    /// Has a job done, whose result goes to `deliver`.
    pub(super) fn ask<R>(
        &self,
        job: impl FnOnce(&mut Desk) -> Result<R> + Send + 'static,
        deliver: impl FnOnce(Result<R>) + Send + 'static,
    ) -> Result<()> {
        callback::refuse_within_callback(self.number())?;
        let whole: Job = Box::new(move |desk| {
            let result = border::caught(|| job(desk));
            let goes_on = !matches!(result, Err(Error::Internal(_)));
            deliver(result);
            goes_on
        });
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(whole).map_err(|_| ended())
    }

    /// Has a job done some time, without waiting: also from where waiting is not possible.
    pub(super) fn later(&self, job: impl FnOnce(&mut Desk) + Send + 'static) {
        let job: Job = Box::new(move |desk| {
            job(desk);
            true
        });
        // If the thread has ended there is nothing left to do.
        self.jobs.as_ref().map(|jobs| jobs.send(job));
    }

    /// Which worker this is, of all that there are.
    pub(super) fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Error of calls after a panic, which the call that caused it returned.
pub(super) fn ended() -> Error {
    Error::Internal("an earlier call ended the model's thread; free the model and load it again".into())
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_ends_the_opening_is_told() {
        let refused = Worker::start::<()>(|_, _| Err(Error::NoTemplate)).err().unwrap();
        assert!(matches!(refused, Error::NoTemplate), "{refused}");
        let panicked = Worker::start::<()>(|_, _| panic!("at {}", "once")).err().unwrap();
        assert!(matches!(&panicked, Error::Internal(words) if words.contains("at once")), "{panicked}");
    }

    #[test]
    fn who_comes_too_late_is_told() {
        let (worker, ()) = Worker::start(|ready, jobs| {
            ready(());
            drop(jobs);
            Ok(())
        })
        .unwrap();
        let late = worker.run(|_| Ok(())).unwrap_err();
        assert!(late.to_string().contains("free the model and load it again"), "{late}");
        worker.later(|_| ());
    }
}
