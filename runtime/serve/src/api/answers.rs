//! The answers to one request, while they come.
//!
//! In: prompts as ids, options. Out: deltas, of whichever answer has one. Invariant: dropping this ends the answers, at
//! the latest at the next step; a stop string ends its answer at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use axum::http::StatusCode;
use tokio::sync::mpsc::Receiver;
use tokio::sync::OwnedSemaphorePermit;

use crate::constrain::{Constraint, Shape};
use crate::refusal::Refusal;
use crate::schedule::job::{Chooser, Chosen, Ended, Event, Job};
use crate::state::{Model, Server};
use crate::wire::options::Options;
use crate::wire::reply::{Finish, Told, Usage};
use crate::words::{Piece, Reading, Words};
use qwenc_engine::image::sampling::filters;
use qwenc_engine::inference::logits_processor::Adjust;
use qwenc_engine::inference::sampler::Sampler;

/// A request, ready for the scheduler.
pub struct Question {
    /// The field that the prompts came from.
    pub field: &'static str,
    /// Not empty.
    pub prompts: Vec<Vec<u32>>,
    /// Most tokens of each answer; none: as many as fit.
    pub max_tokens: Option<usize>,
    /// Tokens to tell with each.
    pub logprobs: Option<usize>,
    /// Format that answers must keep to.
    pub shape: Option<Shape>,
    /// Whether the prompts end amid thinking; none where they rule it out.
    pub opened: Option<bool>,
    /// Whether the answers begin with thinking.
    pub thinks: bool,
    /// Structure to find in the answers: thinking, tool calls.
    pub reading: Reading,
    /// The rest.
    pub options: Options,
}

/// Answers under way.
pub struct Answers {
    server: Arc<Server>,
    choices: Vec<Choice>,
    usage: Usage,
    /// Answers to each prompt.
    per_prompt: usize,
    started: Instant,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

struct Choice {
    events: Receiver<Event>,
    words: Words,
    told: Vec<Told>,
    /// Bytes that have been sent: no stop string can begin in them.
    certain: usize,
    over: bool,
}

/// News of one answer.
#[derive(Debug)]
pub struct Delta {
    /// Which.
    pub index: usize,
    /// Its first.
    pub begun: bool,
    /// Text and calls of the answer.
    pub pieces: Vec<Piece>,
    /// The tokens that it took, where that is wanted.
    pub told: Vec<Told>,
    /// It is over.
    pub finish: Option<Finish>,
}

impl Answers {
    /// Has the answers begun, for which there is room by `permit`. Takes a while where they must keep to a shape.
    pub async fn begin(
        server: &Arc<Server>,
        question: Question,
        permit: OwnedSemaphorePermit,
    ) -> Result<Answers, Refusal> {
        let model = server.model()?;
        for prompt in &question.prompts {
            check(model, prompt, question.field)?;
        }
        let biased: Vec<u32> = question.options.penalties.bias.iter().map(|b| b.0).collect();
        model.check_tokens(&biased, "logit_bias")?;
        let mut choices = Vec::new();
        let mut jobs = Vec::new();
        for prompt in &question.prompts {
            for index in 0..question.options.n {
                let bounds = match &question.shape {
                    Some(shape) => Some(model.constrain(shape, question.opened).await?),
                    None => None,
                };
                let (job, choice) = choice(model, &question, prompt, index, bounds);
                jobs.push(job);
                choices.push(choice);
            }
        }
        // Nothing runs unless everything can.
        jobs.into_iter().try_for_each(|job| server.run(job))?;
        let prompt = question.prompts.iter().map(Vec::len).sum();
        server.metrics.prompt.inc_by(prompt as u64);
        let usage = Usage { prompt, ..Usage::default() };
        let (server, started) = (Arc::clone(server), Instant::now());
        let per_prompt = question.options.n.max(1);
        Ok(Answers { server, choices, usage, per_prompt, started, begun: false, _permit: permit })
    }

    /// Number of answers.
    pub fn count(&self) -> usize {
        self.choices.len()
    }

    /// Tokens used so far.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The next news; none when all are over.
    pub async fn next(&mut self) -> Option<Result<Delta, Refusal>> {
        loop {
            let (index, event) = poll_fn(|context| {
                let mut waits = false;
                for (index, choice) in self.choices.iter_mut().enumerate().filter(|(_, c)| !c.over) {
                    match choice.events.poll_recv(context) {
                        Poll::Ready(event) => return Poll::Ready(Some((index, event))),
                        Poll::Pending => waits = true,
                    }
                }
                if waits {
                    Poll::Pending
                } else {
                    Poll::Ready(None)
                }
            })
            .await?;
            match self.news(index, event) {
                Ok(None) => {}
                Ok(Some(delta)) => return Some(Ok(delta)),
                Err(refusal) => return Some(Err(refusal)),
            }
        }
    }

    fn news(&mut self, index: usize, event: Option<Event>) -> Result<Option<Delta>, Refusal> {
        let gone = || Ended::Failed("the server ended before the answer did".into());
        match event.unwrap_or_else(|| Event::Ended(gone())) {
            Event::Begun { cached } => {
                // Answers to one prompt read it once: what the first found is a part of the prompt's tokens.
                if index.is_multiple_of(self.per_prompt) {
                    self.usage.cached += cached;
                    self.server.metrics.cached.inc_by(cached as u64);
                }
                Ok(Some(Delta { index, begun: true, pieces: Vec::new(), told: Vec::new(), finish: None }))
            }
            Event::Token(chosen) => Ok(self.token(index, chosen)),
            // Answers are never asked for one.
            Event::Embedding(_) => Ok(None),
            Event::Ended(Ended::Failed(why)) => {
                // The others are of no use without it.
                self.choices.iter_mut().for_each(|choice| choice.over = true);
                Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why))
            }
            Event::Ended(why) => {
                let choice = &mut self.choices[index];
                let pieces = choice.words.finish();
                if choice.words.is_stopped() {
                    choice.told.truncate(choice.certain);
                }
                let finish = match why {
                    _ if choice.words.is_stopped() => Finish::Stop,
                    Ended::Length => Finish::Length,
                    _ if choice.words.calls() > 0 => Finish::ToolCalls,
                    _ => Finish::Stop,
                };
                Ok(Some(self.over(index, pieces, finish)))
            }
        }
    }

    fn token(&mut self, index: usize, chosen: Chosen) -> Option<Delta> {
        if !std::mem::replace(&mut self.begun, true) {
            self.server.metrics.first_token_seconds.observe(self.started.elapsed().as_secs_f64());
        }
        self.usage.completion += 1;
        let choice = &mut self.choices[index];
        if let (Ok(model), Some(logprobs)) = (self.server.model(), chosen.logprobs) {
            let bytes = |id| model.tokenizer.bytes(id);
            let top = logprobs.top.iter().map(|&(id, l)| (bytes(id), l)).collect();
            choice.told.push(Told { bytes: bytes(chosen.token), logprob: logprobs.chosen, top });
        }
        let pieces = choice.words.push(chosen.token);
        if choice.words.is_stopped() {
            // Text that was held back is, or follows, the beginning of the stop string.
            choice.told.truncate(choice.certain);
            return Some(self.over(index, pieces, Finish::Stop));
        }
        if choice.words.is_certain() {
            choice.certain = choice.told.len();
        }
        if pieces.is_empty() {
            return None;
        }
        let told = choice.told.drain(..std::mem::take(&mut choice.certain)).collect();
        Some(Delta { index, begun: false, pieces, told, finish: None })
    }

    fn over(&mut self, index: usize, pieces: Vec<Piece>, finish: Finish) -> Delta {
        let choice = &mut self.choices[index];
        choice.over = true;
        // The scheduler sees that the client has gone.
        choice.events.close();
        let told = std::mem::take(&mut choice.told);
        if self.choices.iter().all(|c| c.over) {
            self.server.metrics.request_seconds.observe(self.started.elapsed().as_secs_f64());
        }
        Delta { index, begun: false, pieces, told, finish: Some(finish) }
    }
}

impl Drop for Answers {
    /// Cancels jobs that are not over.
    fn drop(&mut self) {
        let left = self.choices.iter().filter(|c| !c.over).count();
        self.server.metrics.abandoned.inc_by(left as u64);
    }
}

/// Refuses a prompt that cannot be answered.
fn check(model: &Model, prompt: &[u32], field: &str) -> Result<(), Refusal> {
    if prompt.is_empty() {
        return Err(Refusal::bad(field, "the prompt is empty: it has no token to go on from"));
    }
    model.check_tokens(prompt, field)?;
    if prompt.len() >= model.context {
        let (context, length) = (model.context, prompt.len());
        let why =
            format!("the context of {context} tokens has no room for an answer to a prompt of {length}");
        return Err(model.too_long(field, &why));
    }
    Ok(())
}

fn choice(
    model: &Model,
    question: &Question,
    prompt: &[u32],
    index: usize,
    bounds: Option<Constraint>,
) -> (Job, Choice) {
    let options = &question.options;
    let room = model.context + 1 - prompt.len();
    let max_tokens = question.max_tokens.unwrap_or(room).min(room);
    let seed = options.seed.map(|seed| seed.wrapping_add(index as u64));
    let stop_tokens = if options.ignore_eos { Vec::new() } else { model.metadata.stop_tokens.clone() };
    let sampling = options.filters.over(filters(&model.metadata.sampling, question.thinks));
    let chooser = Chooser {
        sampler: Sampler::new(sampling, Arc::clone(&model.allowed), seed),
        adjust: Adjust::new(options.penalties.clone(), prompt),
        constraint: bounds,
        logprobs: question.logprobs,
    };
    let (events, receiver) = Job::channel(max_tokens);
    let (prompt, adapter) = (prompt.to_vec(), options.adapter);
    let job = Job { prompt, adapter, max_tokens, stop_tokens, chooser: Some(chooser), events };
    let words = Words::new(&model.tokenizer, question.reading, options.stop.clone());
    (job, Choice { events: receiver, words, told: Vec::new(), certain: 0, over: false })
}
