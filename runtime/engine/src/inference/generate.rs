//! The loop that turns a prompt into tokens: what both `generate` and `chat` run.
//!
//! In: a session that holds the prompt's beginning, the rest of the prompt, limits. Out: each token
//! as it comes, why it ended, how long it took. Invariant: every token of the prompt runs through
//! the model; the token that ends an answer is reported but not fed. No text and no flags here: those are
//! for `commands/`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::inference::engine::Engine;
use crate::inference::logits_processor::AdjustedSampler;
use crate::inference::prompt_lookup;
use crate::inference::session::Session;
use crate::inference::step::Wanted;

/// When to stop.
pub struct Limits<'a> {
    /// Most tokens to sample.
    pub max_tokens: usize,
    /// Tokens that end the answer.
    pub stop_tokens: &'a [u32],
    /// Most tokens to guess and have checked in the step of a sampled one; 0: none.
    pub speculate: usize,
    /// Asked after every token.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A stop token was sampled.
    StopToken,
    /// Limit of tokens reached.
    MaxTokens,
    /// The sequence is as long as the context.
    ContextFull,
    /// Interrupted by Ctrl-C or the client.
    Interrupted,
}

/// Outcome of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Why it ended.
    pub ending: Ending,
    /// Tokens of the prompt that were fed.
    pub prefill_tokens: usize,
    /// Time until the first token was sampled.
    pub prefill_time: Duration,
    /// Tokens fed after that.
    pub decode_tokens: usize,
    /// Time for them, sampling and output included.
    pub decode_time: Duration,
    /// Tokens that were guessed.
    pub guessed: usize,
    /// Those of them that were sampled then.
    pub right: usize,
}

impl Report {
    /// Tokens per second, for people.
    pub fn lines(&self) -> String {
        let line = |name: &str, tokens: usize, time: Duration| {
            let seconds = time.as_secs_f64();
            let rate = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
            format!("{name}: {tokens} tokens in {:.1} ms, {rate:.1} tok/s\n", seconds * 1e3)
        };
        let guesses = match self.guessed {
            0 => String::new(),
            n => format!("speculation: {} of {n} guessed tokens were right\n", self.right),
        };
        line("prefill", self.prefill_tokens, self.prefill_time)
            + &line("decode", self.decode_tokens, self.decode_time)
            + &guesses
    }
}

/// A sampled token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// Part of the answer.
    Token(u32),
    /// Ends it; not part of its text.
    Stop(u32),
}

/// Feeds `prompt` (not empty) and samples until a limit is reached.
pub fn generate(
    engine: &mut Engine,
    session: &mut Session,
    sampler: &mut AdjustedSampler,
    prompt: &[u32],
    limits: &Limits,
    on_token: &mut dyn FnMut(Sampled) -> Result<()>,
) -> Result<Report> {
    let start = Instant::now();
    let mut ready = VecDeque::new();
    let results = sampler.results();
    session.feed_for(engine, prompt, (Wanted::Last, results), |_, output| {
        ready.push_back(sampler.choose(output)?);
        Ok(())
    })?;
    let (prefill_time, fed) = (start.elapsed(), session.tokens().len());
    let start = Instant::now();
    let (mut decode_tokens, mut guessed, mut right) = (0, 0, 0);
    let ending = loop {
        // A step gives at least one token, and all but its last are fed.
        let Some(next) = ready.pop_front() else { break Ending::ContextFull };
        if decode_tokens == limits.max_tokens {
            break Ending::MaxTokens;
        }
        if limits.stop_tokens.contains(&next) {
            on_token(Sampled::Stop(next))?;
            break Ending::StopToken;
        }
        on_token(Sampled::Token(next))?;
        if decode_tokens + 1 == limits.max_tokens {
            break Ending::MaxTokens;
        }
        if (limits.interrupted)() {
            break Ending::Interrupted;
        }
        if ready.is_empty() {
            if session.room() == 0 {
                break Ending::ContextFull;
            }
            let wanted = limits.speculate.min(limits.max_tokens - decode_tokens - 2);
            guessed += advance(engine, session, sampler, next, wanted, &mut ready)?;
            right += ready.len() - 1;
        }
        decode_tokens += 1;
    };
    // Tokens sampled past the stop token are dropped.
    session.truncate(fed + decode_tokens);
    let (prefill_tokens, decode_time) = (prompt.len(), start.elapsed());
    Ok(Report { ending, prefill_tokens, prefill_time, decode_tokens, decode_time, guessed, right })
}

/// Feeds `next` and a guess of at most `wanted` tokens after it, in one step. `ready` gets what is sampled after
/// each as long as it is what was guessed, and once more: exactly what would be sampled one by one. Leaves fed what
/// is right; returns how many were guessed.
fn advance(
    engine: &mut Engine,
    session: &mut Session,
    sampler: &mut AdjustedSampler,
    next: u32,
    wanted: usize,
    ready: &mut VecDeque<u32>,
) -> Result<usize> {
    let before = session.tokens().len();
    let wanted = wanted.min(session.room() - 1);
    let so_far = if wanted == 0 { Vec::new() } else { [session.tokens(), &[next]].concat() };
    let guess = prompt_lookup::guess(&so_far, wanted);
    let step = [&[next], guess].concat();
    let results = sampler.results();
    session.feed_for(engine, &step, (Wanted::All, results), |i, output| {
        // Tokens after a wrong guess do not belong to this text.
        if i == ready.len() && (i == 0 || ready.back() == Some(&step[i])) {
            ready.push_back(sampler.choose(output)?);
        }
        Ok(())
    })?;
    session.truncate(before + ready.len());
    Ok(guess.len())
}
