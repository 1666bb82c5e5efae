//! Jobs for the scheduler, and their events.
//!
//! In: a prompt as ids and how to choose what follows. Out: events, one for each token. Invariant: a channel has room
//! for every event that its job can have, so that a client that reads slowly, or not at all, holds up no other.

use std::os::fd::RawFd;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::constrain::Constraint;
use qwenc_engine::error::Result;
use qwenc_engine::inference::logits_processor::Adjust;
use qwenc_engine::inference::logprobs::{logprobs, Logprobs};
use qwenc_engine::inference::sampler::Sampler;
use qwenc_engine::inference::step::{Output, Results};

/// One sequence to generate, or to read.
pub struct Job {
    /// Not empty, and shorter than the context.
    pub prompt: Vec<u32>,
    /// Counted from 1; 0: none.
    pub adapter: u32,
    /// Most tokens to sample, at least 1; of an embedding 1 without any.
    pub max_tokens: usize,
    /// Tokens that end it.
    pub stop_tokens: Vec<u32>,
    /// Sampler of the job; `None`: only the prompt's embedding is wanted.
    pub chooser: Option<Chooser>,
    /// Receiver of tokens; closed when the client has gone.
    pub events: Sender<Event>,
}

/// Event of a job.
#[derive(Debug)]
pub enum Event {
    /// Its prompt is being read, of which so many tokens were known already.
    Begun {
        /// Tokens that were found in a cache.
        cached: usize,
    },
    /// It goes on with this token.
    Token(Chosen),
    /// Embedding of the prompt, `[hidden]`, normalised to length 1.
    Embedding(Vec<f32>),
    /// It is over.
    Ended(Ended),
}

/// Why it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a stop token, or because what it must keep to is complete.
    Stop,
    /// For lack of tokens or room.
    Length,
    /// By an error.
    Failed(String),
}

/// A token and, where asked for, how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Its id.
    pub token: u32,
    /// Log probabilities, where wanted.
    pub logprobs: Option<Box<Logprobs>>,
}

/// Chooses the tokens of one sequence.
pub struct Chooser {
    /// By chance or not.
    pub sampler: Sampler,
    /// With which changes.
    pub adjust: Adjust,
    /// Within which bounds.
    pub constraint: Option<Constraint>,
    /// Number of likeliest tokens to report with each.
    pub logprobs: Option<usize>,
}

impl Job {
    /// A prompt's embedding.
    pub fn embedding(prompt: Vec<u32>, adapter: u32) -> (Job, Receiver<Event>) {
        let (events, receiver) = Job::channel(1);
        (Job { prompt, adapter, max_tokens: 1, stop_tokens: Vec::new(), chooser: None, events }, receiver)
    }

    /// Form of results that the job needs of a step, beyond an embedding.
    pub fn results(&self) -> Results {
        self.chooser.as_ref().map_or(Results::Picks, Chooser::results)
    }

    /// A channel with room for all that a job of so many tokens can say.
    pub fn channel(max_tokens: usize) -> (Sender<Event>, Receiver<Event>) {
        mpsc::channel(max_tokens.saturating_add(2))
    }
}

impl Chooser {
    /// Form of results that the sampler needs of a step.
    pub fn results(&self) -> Results {
        let plain = self.adjust.is_neutral() && self.constraint.is_none() && self.logprobs.is_none();
        if plain {
            return self.sampler.results();
        }
        Results::Logits
    }

    /// True while the mask of the next token has not come.
    pub fn waits(&mut self) -> bool {
        self.constraint.as_mut().is_some_and(|constraint| !constraint.is_ready())
    }

    /// Socket that becomes readable when the mask comes.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.constraint.as_ref().map(Constraint::descriptor)
    }

    /// The next token; it must not [wait](Chooser::waits).
    pub fn choose(&mut self, output: Output) -> Result<Chosen> {
        if let Output::Pick(token) = output {
            return Ok(Chosen { token, logprobs: None });
        }
        let logits = output.logits()?;
        let only = self.constraint.as_mut().map(Constraint::allowed).transpose()?;
        let changed = self.adjust.apply(logits, only.as_ref().and_then(|o| o.words()));
        let token = self.sampler.pick(changed)?;
        self.adjust.push(token);
        let allowed = self.sampler.allowed();
        let told = self.logprobs.map(|count| Box::new(logprobs(logits, allowed, token, count)));
        Ok(Chosen { token, logprobs: told })
    }

    /// The answer goes on with `token`, which was chosen.
    pub fn push(&mut self, token: u32) {
        self.constraint.iter_mut().for_each(|constraint| constraint.push(token));
    }

    /// Whether nothing may follow, as far as is known.
    pub fn is_complete(&self) -> Result<bool> {
        self.constraint.as_ref().map_or(Ok(false), Constraint::is_over)
    }
}
