//! The loop that turns a prompt into tokens: what both `generate` and `chat` run.
//!
//! In: a session that holds the prompt's beginning, the rest of the prompt, limits. Out: each token
//! as it comes, why it ended, how long it took. Invariant: every token of the prompt runs through
//! the model; the token that ends an answer is reported but not fed. No text and no flags here: those are
//! for `commands/`.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::inference::engine::Engine;
use crate::inference::sampler::Sampler;
use crate::inference::session::{Session, Wanted};

/// When to stop.
pub struct Limits<'a> {
    /// Most tokens to sample.
    pub max_tokens: usize,
    /// Tokens that end the answer.
    pub stop_tokens: &'a [u32],
    /// Asked after every token.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A stop token was sampled.
    StopToken,
    /// As many tokens as allowed.
    MaxTokens,
    /// The sequence is as long as the context.
    ContextFull,
    /// Somebody asked.
    Interrupted,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Why it ended.
    pub ending: Ending,
    /// Tokens of the prompt that were fed.
    pub prefill_tokens: usize,
    /// Time until the first token was sampled.
    pub prefill_time: Duration,
    /// Tokens fed one by one after that.
    pub decode_tokens: usize,
    /// Time for them, sampling and output included.
    pub decode_time: Duration,
}

impl Report {
    /// Tokens per second, for people.
    pub fn lines(&self) -> String {
        let line = |name: &str, tokens: usize, time: Duration| {
            let seconds = time.as_secs_f64();
            let rate = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
            format!("{name}: {tokens} tokens in {:.1} ms, {rate:.1} tok/s\n", seconds * 1e3)
        };
        line("prefill", self.prefill_tokens, self.prefill_time)
            + &line("decode", self.decode_tokens, self.decode_time)
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
    sampler: &mut Sampler,
    prompt: &[u32],
    limits: &Limits,
    on_token: &mut dyn FnMut(Sampled) -> Result<()>,
) -> Result<Report> {
    let start = Instant::now();
    let mut next = 0;
    session.feed(engine, prompt, Wanted::Last, |_, logits| {
        next = sampler.pick(logits)?;
        Ok(())
    })?;
    let prefill_time = start.elapsed();
    let start = Instant::now();
    let mut decode_tokens = 0;
    let ending = loop {
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
        if session.room() == 0 {
            break Ending::ContextFull;
        }
        session.feed(engine, &[next], Wanted::Last, |_, logits| {
            next = sampler.pick(logits)?;
            Ok(())
        })?;
        decode_tokens += 1;
    };
    let prefill_tokens = prompt.len();
    Ok(Report { ending, prefill_tokens, prefill_time, decode_tokens, decode_time: start.elapsed() })
}
