//! `bench`: how fast the model runs here, beside what the machine can do at most.
//!
//! In: lengths and a number of rounds. Out: a table, or a JSON object. Invariant: every round measures the
//! model and the machine, so that each share is of what the machine did at that moment; a round before them
//! is not counted.

mod report;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::Bench;
use crate::commands::bench::report::{Report, Traffic};
use crate::commands::opened::Opened;
use crate::console::Console;
use crate::cpu;
use crate::error::{Error, Result};
use crate::inference::engine::Engine;
use crate::inference::sampler::{Sampler, Sampling};
use crate::inference::session::{check_context, Session, Wanted};
use crate::machine::bandwidth::{buffer_bytes, Bandwidth};
use crate::machine::{dot, system};
use crate::program::Program;

const DEFAULT_PROMPT: usize = 512;
const DEFAULT_NEW: usize = 128;
/// Tokens of the prompt whose first token is timed.
const FIRST_PROMPT: usize = 16;
/// How long the dot products of a round run.
const DOT_TIME: Duration = Duration::from_millis(50);

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(
    program: &Program,
    weights: Option<&Path>,
    args: &Bench,
    console: &mut Console,
) -> Result<()> {
    let lengths = Lengths::new(args, program.model.max_context as usize)?;
    let opened = Opened::new(program, weights)?;
    // SAFETY: by the caller's promise.
    let engine = unsafe { opened.engine(program, &args.machine)? };
    let rows = program.model.vocab_rows as usize;
    let known = opened.tokenizer.as_ref().map_or(rows, |t| t.size().clamp(1, rows));
    let session = Session::new(&engine, args.machine.context)?;
    let sampler = Sampler::new(Sampling::GREEDY, opened.allowed(program), Some(0));
    let tokens = prompt(lengths.prompt.max(lengths.first).max(lengths.start), known);
    let threads = engine.threads();
    let mut model = Model { engine, session, sampler, tokens, lengths };
    model.prefill()?;
    model.first_token()?;
    model.decode()?;
    // Before the probe's own buffer counts.
    let peak_memory = system::peak_memory_bytes().unwrap_or_default();
    let bandwidth = Bandwidth::new(buffer_bytes(), threads)?;
    bandwidth.measure()?;
    let rounds: Result<Vec<Round>> = (0..args.runs).map(|_| model.round(&bandwidth)).collect();
    let report = Report {
        rounds: rounds?,
        lengths,
        threads,
        traffic: Traffic::of(program.model, &opened.image.metadata().model),
        weight_type: opened.image.metadata().model.weight_type.clone(),
        isa: cpu::wanted(program.model).join(", "),
        peak_memory,
    };
    if args.json {
        return console.print(&format!("{:#}\n", report.json()));
    }
    console.print(&report.table())
}

/// Numbers of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lengths {
    /// Of the prompt for prefill.
    prompt: usize,
    /// Of the prompt for the first token.
    first: usize,
    /// In the cache when decode starts.
    start: usize,
    /// Decoded.
    new: usize,
}

impl Lengths {
    fn new(args: &Bench, most: usize) -> Result<Lengths> {
        let context = args.machine.context;
        let limit = check_context(context, most)?;
        // A decoded token follows another.
        if limit < 2 {
            let what = format!("bench needs a context of at least 2 tokens, found {limit}; raise --context");
            return Err(Error::Usage(what));
        }
        let prompt = checked("--prompt", args.prompt, DEFAULT_PROMPT, limit, "the context")?;
        let follows = "the context without the token that the first one follows";
        let new = checked("--new", args.new, DEFAULT_NEW, limit - 1, follows)?;
        let start = context.map_or(1, |end| end - new);
        Ok(Lengths { prompt, first: FIRST_PROMPT.min(limit), start, new })
    }
}

/// A flag's value in `1..=most`; the default gives way.
fn checked(flag: &str, value: Option<u32>, default: usize, most: usize, why: &str) -> Result<usize> {
    match value.map(|n| n as usize) {
        None => Ok(default.min(most)),
        Some(n) if (1..=most).contains(&n) => Ok(n),
        Some(n) => {
            Err(Error::Usage(format!("{flag} {n} is out of range: expected 1 to {most} tokens ({why})")))
        }
    }
}

/// The same ids in every run, spread over the vocabulary.
fn prompt(len: usize, known: usize) -> Vec<u32> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) % known as u64) as u32
    };
    (0..len).map(next).collect()
}

/// What one round found.
#[derive(Clone, Copy, Debug)]
struct Round {
    prefill_tok_s: f64,
    first_token_ms: f64,
    decode_tok_s: f64,
    read_gb_s: f64,
    dot_tops: f64,
}

/// What is measured.
struct Model<'a> {
    engine: Engine<'a>,
    session: Session,
    sampler: Sampler,
    tokens: Vec<u32>,
    lengths: Lengths,
}

impl Model<'_> {
    fn round(&mut self, bandwidth: &Bandwidth) -> Result<Round> {
        let (prefill, first, decode) = (self.prefill()?, self.first_token()?, self.decode()?);
        Ok(Round {
            prefill_tok_s: self.lengths.prompt as f64 / seconds(prefill),
            first_token_ms: seconds(first) * 1e3,
            decode_tok_s: self.lengths.new as f64 / seconds(decode),
            read_gb_s: bandwidth.measure()?,
            dot_tops: dot::measure(self.engine.threads(), DOT_TIME)?,
        })
    }

    /// Time of the prompt from an empty cache, with the last position's logits.
    fn prefill(&mut self) -> Result<Duration> {
        self.session.truncate(0);
        let start = Instant::now();
        let prompt = &self.tokens[..self.lengths.prompt];
        self.session.feed(&mut self.engine, prompt, Wanted::Last, |_, _| Ok(()))?;
        Ok(start.elapsed())
    }

    /// Time from a short prompt to its first token.
    fn first_token(&mut self) -> Result<Duration> {
        self.session.truncate(0);
        let start = Instant::now();
        self.feed_and_pick(self.lengths.first)?;
        Ok(start.elapsed())
    }

    /// Time of the new tokens, each fed and the next one picked; what stands before them is not timed.
    fn decode(&mut self) -> Result<Duration> {
        self.session.truncate(0);
        let mut next = self.feed_and_pick(self.lengths.start)?;
        let start = Instant::now();
        for _ in 0..self.lengths.new {
            self.session.feed(&mut self.engine, &[next], Wanted::Last, |_, logits| {
                next = self.sampler.pick(logits)?;
                Ok(())
            })?;
        }
        Ok(start.elapsed())
    }

    fn feed_and_pick(&mut self, len: usize) -> Result<u32> {
        let mut next = 0;
        self.session.feed(&mut self.engine, &self.tokens[..len], Wanted::Last, |_, logits| {
            next = self.sampler.pick(logits)?;
            Ok(())
        })?;
        Ok(next)
    }
}

/// Never zero, so that rates are finite.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Machine;

    fn lengths(prompt: Option<u32>, new: Option<u32>, context: Option<usize>) -> Result<Lengths> {
        let machine = Machine { threads: None, context, chunk: None };
        Lengths::new(&Bench { prompt, new, runs: 1, json: false, machine }, 300)
    }

    #[test]
    fn defaults_give_way_and_flags_do_not() {
        let all = |prompt, first, start, new| Lengths { prompt, first, start, new };
        assert_eq!(lengths(None, None, None).unwrap(), all(300, 16, 1, 128));
        assert_eq!(lengths(Some(7), Some(299), None).unwrap(), all(7, 16, 1, 299));
        assert_eq!(lengths(None, None, Some(200)).unwrap(), all(200, 16, 72, 128));
        assert_eq!(lengths(None, None, Some(10)).unwrap(), all(10, 10, 1, 9));
        for bad in
            [lengths(Some(301), None, None), lengths(None, Some(300), None), lengths(None, None, Some(1))]
        {
            assert_eq!(bad.unwrap_err().exit_code(), 2);
        }
        let said = lengths(None, Some(20), Some(20)).unwrap_err().to_string();
        assert!(said.contains("--new 20") && said.contains("1 to 19"), "{said}");
    }

    #[test]
    fn prompts_are_the_same_and_in_range() {
        let ids = prompt(1000, 37);
        assert_eq!(ids, prompt(1000, 37));
        assert!(ids.len() == 1000 && (0..37).all(|id| ids.contains(&id)) && ids.iter().all(|&id| id < 37));
    }
}
