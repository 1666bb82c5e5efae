//! The one thread that runs the model: jobs join and leave at every step.
//!
//! In: jobs, in the order in which they came. Out: their events. Invariant: the sequences of a step know nothing of
//! each other, so a job's tokens are those that it would get alone; a job whose reader is gone is dropped before the
//! next step; a job whose format is not
//! ready sits out of steps while others go on.
//!
//! `job` is what is asked, `slot` where it runs, `admit` says which slot, `share` how much of a step.

mod admit;
pub mod job;
mod share;
mod slot;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use crate::metrics::Metrics;
use crate::schedule::job::{Ended, Job};
use crate::schedule::slot::{Slot, Work};
use qwenc_engine::error::Result;
use qwenc_engine::inference::batched_step::{self, SequenceChunk};
use qwenc_engine::inference::engine::Engine;
use qwenc_engine::inference::session::Session;
use qwenc_engine::inference::step::Wanted;
use qwenc_engine::inference::step::{Output, Results};

/// Longest wait for a format, in milliseconds: new jobs are looked for as often.
const REST_MS: i32 = 2;

/// Command for the scheduler.
pub enum Order {
    /// A job; boxed for its size.
    Run(Box<Job>),
    /// Ends when every job is done.
    Drain,
}

/// The thread's state.
pub struct Scheduler<'e, 'm> {
    engine: Engine<'e>,
    slots: Vec<Slot>,
    queue: VecDeque<Box<Job>>,
    orders: Receiver<Order>,
    metrics: &'m Metrics,
    draining: bool,
    /// Counts jobs.
    clock: u64,
}

impl<'e, 'm> Scheduler<'e, 'm> {
    /// For jobs that run in these sequences, which are empty and alike.
    pub fn new(
        engine: Engine<'e>,
        sessions: Vec<Session>,
        orders: Receiver<Order>,
        metrics: &'m Metrics,
    ) -> Scheduler<'e, 'm> {
        let slots = sessions.into_iter().map(Slot::new).collect();
        Scheduler { engine, slots, queue: VecDeque::new(), orders, metrics, draining: false, clock: 0 }
    }

    /// Runs until told to end. An error is the engine's own: every job has been told.
    pub fn run(mut self) -> Result<()> {
        loop {
            if !self.receive() {
                return Ok(());
            }
            self.drop_abandoned();
            self.admit()?;
            self.follow()?;
            self.resume();
            if let Err(e) = self.step() {
                self.fail_all(&e.to_string());
                return Err(e);
            }
            self.measure();
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.slots.iter().all(|s| s.work.is_none())
    }

    /// Takes what was ordered, and waits for an order if there is nothing to do. False: it is over.
    fn receive(&mut self) -> bool {
        loop {
            let idle = self.is_idle();
            if idle && self.draining {
                return false;
            }
            let order = if idle {
                self.orders.recv().ok()
            } else {
                match self.orders.try_recv() {
                    Ok(order) => Some(order),
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => None,
                }
            };
            match order {
                Some(Order::Run(job)) => self.queue.push_back(job),
                // The senders of commands are gone: the jobs that they sent are finished.
                Some(Order::Drain) | None if self.draining => return !idle,
                Some(Order::Drain) | None => self.draining = true,
            }
        }
    }

    fn drop_abandoned(&mut self) {
        self.queue.retain(|job| !job.events.is_closed());
        for slot in &mut self.slots {
            if slot.work.as_ref().is_some_and(Work::is_abandoned) {
                slot.work = None;
            }
        }
    }

    /// Gives free slots to waiting jobs, in their order.
    fn admit(&mut self) -> Result<()> {
        while let Some(job) = self.queue.front() {
            let Some(place) = admit::place(&self.slots, &job.prompt, job.adapter) else { return Ok(()) };
            let Some(job) = self.queue.pop_front() else { return Ok(()) };
            self.clock += 1;
            let slot = &mut self.slots[place.slot];
            slot.session.truncate(place.keep);
            slot.session.adapt(job.adapter);
            slot.session.give_back();
            slot.used = self.clock;
            let mut work = Work::new(*job, self.clock);
            work.begun(place.like.map_or(place.keep, |like| like.1));
            work.follows = place.like;
            slot.work = Some(work);
        }
        Ok(())
    }

    /// Copies the common beginnings that are there by now.
    fn follow(&mut self) -> Result<()> {
        for index in 0..self.slots.len() {
            let Some(work) = &self.slots[index].work else { continue };
            let Some((leader, len)) = work.follows else { continue };
            let other = &self.slots[leader];
            let shared = other.shared(work.prompt(), work.job().adapter).min(len);
            // An earlier one still reads what both have; by now the slot may also be a later one's.
            let reads = other.work.as_ref().is_some_and(|w| w.order < work.order);
            if shared == len && reads && other.session.tokens().len() < len {
                continue;
            }
            if let Ok([slot, other]) = self.slots.get_disjoint_mut([index, leader]) {
                if shared.min(other.session.tokens().len()) > slot.session.tokens().len() {
                    slot.session.begin_as(&other.session, shared)?;
                }
                slot.work.iter_mut().for_each(|w| w.follows = None);
            }
        }
        Ok(())
    }

    /// Number of tokens that each slot feeds in the next step.
    fn plan(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.slots.len()).filter(|&i| self.slots[i].pending() > 0).collect();
        order.sort_by_key(|&i| self.slots[i].work.as_ref().map_or(0, |w| w.order));
        let pending: Vec<usize> = order.iter().map(|&i| self.slots[i].pending()).collect();
        let mut plan = vec![0; self.slots.len()];
        let shares = share::shares(&pending, self.engine.max_rows());
        order.iter().zip(shares).for_each(|(&i, share)| plan[i] = share);
        plan
    }

    /// One step of everybody.
    fn step(&mut self) -> Result<()> {
        let plan = self.plan();
        let started = Instant::now();
        let next = |(slot, &share): (&Slot, &usize)| {
            let from = slot.session.tokens().len();
            slot.work.as_ref().map_or_else(Vec::new, |w| w.tokens()[from..from + share].to_vec())
        };
        let tokens: Vec<Vec<u32>> = self.slots.iter().zip(&plan).map(next).collect();
        let logits = |s: &Slot| s.work.as_ref().is_some_and(|w| w.job().results() == Results::Logits);
        let results = if self.slots.iter().any(logits) { Results::Logits } else { Results::Picks };
        let (mut parts, mut works) = (Vec::new(), Vec::new());
        for (slot, tokens) in self.slots.iter_mut().zip(&tokens) {
            let last = slot.pending() == tokens.len();
            let wanted = slot.work.as_ref().filter(|_| last).map_or(Wanted::Nothing, Work::wanted);
            works.push((slot.work.as_mut(), slot.session.room() - tokens.len()));
            parts.push(SequenceChunk { session: &mut slot.session, tokens, wanted });
        }
        let mut ends: Vec<Option<Ended>> = vec![None; parts.len()];
        let metrics = self.metrics;
        batched_step::feed(&mut self.engine, &mut parts, results, |index, _, output: Output| {
            if let (Some(work), room) = &mut works[index] {
                // A failure of one job does not concern the others.
                let before = work.chosen;
                ends[index] = work.take(output, *room).unwrap_or_else(|e| Some(Ended::Failed(e.to_string())));
                metrics.generated.inc_by(work.chosen - before);
            }
            Ok(())
        })?;
        let fed: usize = plan.iter().sum();
        if fed > 0 {
            metrics.step(fed, started.elapsed());
        } else {
            self.rest();
        }
        for (slot, end) in self.slots.iter_mut().zip(ends) {
            if let Some(end) = end {
                slot.work.take().into_iter().for_each(|work| work.end(end.clone()));
            }
        }
        Ok(())
    }

    /// Has those go on that waited for their formats.
    fn resume(&mut self) {
        for slot in &mut self.slots {
            let Some(work) = &mut slot.work else { continue };
            let before = work.chosen;
            let end = work.resume().unwrap_or_else(|e| Some(Ended::Failed(e.to_string())));
            self.metrics.generated.inc_by(work.chosen - before);
            if let Some(end) = end {
                slot.work.take().into_iter().for_each(|work| work.end(end.clone()));
            }
        }
    }

    /// Waits a moment for formats, where nothing can be run meanwhile.
    fn rest(&self) {
        let awaited = self.slots.iter().filter_map(|s| s.work.as_ref()?.awaited());
        let mut awaited: Vec<libc::pollfd> =
            awaited.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        if !awaited.is_empty() {
            // SAFETY: the pointer is to a live local of that length.
            unsafe { libc::poll(awaited.as_mut_ptr(), awaited.len() as _, REST_MS) };
        }
    }

    fn fail_all(&mut self, why: &str) {
        for work in self.slots.iter_mut().filter_map(|s| s.work.take()) {
            work.end(Ended::Failed(why.to_owned()));
        }
        self.queue.clear();
    }

    fn measure(&self) {
        let busy = self.slots.iter().filter(|s| s.work.is_some()).count();
        let held = self.slots.iter().map(|s| s.session.tokens().len()).sum::<usize>();
        self.metrics.running.set(busy as i64);
        self.metrics.queued.set(self.queue.len() as i64);
        self.metrics.kv_tokens.set(held as i64);
    }
}
