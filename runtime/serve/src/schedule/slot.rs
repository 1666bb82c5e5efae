//! A place for one sequence: its cache, and the job that uses it.
//!
//! In: jobs, one after the other. Out: which tokens to feed next. Invariant: what is in the cache is a beginning of
//! prompt and answer, also after the job is over: later jobs may begin alike.

use std::os::fd::RawFd;

use crate::schedule::job::{Chooser, Ended, Event, Job};
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::session::Session;
use qwenc_engine::inference::step::Output;
use qwenc_engine::inference::step::Wanted;

/// A slot: one sequence's cache, and the job that uses it.
pub struct Slot {
    /// Sequence in the cache.
    pub session: Session,
    /// Running job of the slot.
    pub work: Option<Work>,
    /// When a job was last begun here.
    pub used: u64,
}

/// A job under way.
pub struct Work {
    job: Job,
    /// The prompt and what was chosen.
    tokens: Vec<u32>,
    /// The slot whose prompt begins alike, and how much of it: it is not read twice.
    pub follows: Option<(usize, usize)>,
    /// When it was begun.
    pub order: u64,
    /// State of a sequence that sits out of steps, until the mask of its next token comes.
    held: Option<Held>,
    /// Tokens that were chosen.
    pub chosen: u64,
}

/// A job that sits out of steps.
enum Held {
    /// Its next token, of these logits; `room` is how many more tokens can be fed.
    Choice { logits: Vec<f32>, room: usize },
    /// End of the job, whose reason the format decides: its last token has been chosen.
    End,
}

impl Work {
    /// Begins a job.
    pub fn new(job: Job, order: u64) -> Work {
        let tokens = job.prompt.clone();
        Work { job, tokens, follows: None, order, held: None, chosen: 0 }
    }

    /// Everything that the sequence will hold as far as it is known.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Its prompt.
    pub fn prompt(&self) -> &[u32] {
        &self.job.prompt
    }

    /// Positions whose results are wanted once the prompt is read.
    pub fn wanted(&self) -> Wanted {
        match self.job.chooser {
            Some(_) => Wanted::Last,
            None => Wanted::Embedding,
        }
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Whether its client has gone.
    pub fn is_abandoned(&self) -> bool {
        self.job.events.is_closed()
    }

    /// Tells of the beginning.
    pub fn begun(&self, cached: usize) {
        self.tell(Event::Begun { cached });
    }

    /// Takes what the model computed after the last token. Gives why the job is over, if it is; `room` is how many
    /// more tokens can be fed.
    pub fn take(&mut self, output: Output, room: usize) -> Result<Option<Ended>> {
        if let Output::Embedding(values) = output {
            self.tell(Event::Embedding(values.to_vec()));
            return Ok(Some(Ended::Stop));
        }
        if self.chooser()?.waits() {
            self.held = Some(Held::Choice { logits: output.logits()?.to_vec(), room });
            return Ok(None);
        }
        self.choose(output, room)
    }

    /// Goes on where it was held, if its format has answered. Gives why the job is over, if it is.
    pub fn resume(&mut self) -> Result<Option<Ended>> {
        if self.held.is_none() || self.chooser()?.waits() {
            return Ok(None);
        }
        match self.held.take() {
            None => Ok(None),
            Some(Held::Choice { logits, room }) => self.choose(Output::Logits(&logits), room),
            Some(Held::End) => self.last().map(Some),
        }
    }

    /// Socket that becomes readable when a sequence that sits out can go on.
    pub fn awaited(&self) -> Option<RawFd> {
        self.held.as_ref().and(self.job.chooser.as_ref()).and_then(Chooser::descriptor)
    }

    fn choose(&mut self, output: Output, room: usize) -> Result<Option<Ended>> {
        let chooser = self.chooser()?;
        if chooser.is_complete()? {
            return Ok(Some(Ended::Stop));
        }
        let chosen = chooser.choose(output)?;
        let token = chosen.token;
        self.chosen += 1;
        if self.job.stop_tokens.contains(&token) {
            return Ok(Some(Ended::Stop));
        }
        self.chooser()?.push(token);
        self.tokens.push(token);
        self.tell(Event::Token(chosen));
        let answered = self.tokens.len() - self.job.prompt.len();
        if answered < self.job.max_tokens && room > 0 {
            return Ok(None);
        }
        if self.chooser()?.waits() {
            self.held = Some(Held::End);
            return Ok(None);
        }
        self.last().map(Some)
    }

    /// Reason of the end after the last token.
    fn last(&mut self) -> Result<Ended> {
        Ok(if self.chooser()?.is_complete()? { Ended::Stop } else { Ended::Length })
    }

    fn chooser(&mut self) -> Result<&mut Chooser> {
        let none = || Error::Internal("logits where an embedding was asked for".into());
        self.job.chooser.as_mut().ok_or_else(none)
    }

    /// Tells of the end.
    pub fn end(self, why: Ended) {
        self.tell(Event::Ended(why));
    }

    /// Sends an event, for which there is room; a client that is gone is noticed at the next step.
    fn tell(&self, event: Event) {
        let _ = self.job.events.try_send(event);
    }
}

impl Slot {
    /// An empty one.
    pub fn new(session: Session) -> Slot {
        Slot { session, work: None, used: 0 }
    }

    /// Tokens that the job has yet to feed before it gets its next; 0 without a job, while it waits for another's, or while
    /// its format is not ready.
    pub fn pending(&self) -> usize {
        let waits = |work: &Work| work.follows.is_some() || work.held.is_some();
        self.work.as_ref().filter(|w| !waits(w)).map_or(0, |w| w.tokens.len() - self.session.tokens().len())
    }

    /// Length of the prefix of `tokens` that is in the cache, or will be when the prompt has been read; what
    /// another adapter made of them is something else.
    pub fn shared(&self, tokens: &[u32], adapter: u32) -> usize {
        if self.session.adapter() != adapter {
            return 0;
        }
        let holds = self.work.as_ref().map_or(self.session.tokens(), |w| w.prompt());
        holds.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }
}
