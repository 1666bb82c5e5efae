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
use crate::inference::batch::Batch;
use crate::inference::engine::Engine;
use crate::inference::kv;
use crate::inference::sampler::{Sampler, Sampling};
use crate::inference::session::{check_context, Session, Wanted};
use crate::machine::bandwidth::{buffer_bytes, Bandwidth};
use crate::machine::dot::{self, Operands};
use crate::machine::system;
use crate::program::Program;

const DEFAULT_PROMPT: usize = 512;
const DEFAULT_NEW: usize = 128;
/// Tokens of the prompt whose first token is timed.
const FIRST_PROMPT: usize = 16;
/// How long the products of each type run in a round.
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
    let (context, kv_type) = (args.machine.context, kv::chosen(args.machine.kv(), opened.image.metadata())?);
    let prompts = Session::new(&engine, context, kv_type)?;
    // A beginning of one token is not worth a cache of its own.
    let answers = (lengths.start > 1).then(|| Session::new(&engine, context, kv_type)).transpose()?;
    let count = args.batch.map_or(0, usize::from);
    let batch = Batch::new(&engine, count, context, kv_type)?;
    let sampler = Sampler::new(Sampling::GREEDY, opened.allowed(program), Some(0));
    let tokens = prompt(lengths.prompt.max(lengths.first).max(lengths.start), known);
    let placement = engine.placement().clone();
    let mut model = Model { engine, prompts, answers, batch, sampler, tokens, lengths };
    model.prefill()?;
    model.first_token()?;
    model.decode()?;
    // Before the batch and the probe's own buffer count.
    let peak_memory = system::peak_memory_bytes().unwrap_or_default();
    model.decode_together()?;
    let bandwidth = Bandwidth::new(buffer_bytes(), &placement)?;
    bandwidth.measure()?;
    let rounds: Result<Vec<Round>> = (0..args.runs).map(|_| model.round(&bandwidth)).collect();
    let report = Report {
        rounds: rounds?,
        lengths,
        threads: placement.threads(),
        batch: args.batch.map(usize::from),
        traffic: Traffic::of(program.model, opened.image.metadata()),
        weight_type: opened.image.metadata().model.weight_type.clone(),
        inputs: opened.image.metadata().model.inputs.clone(),
        kv_type,
        predicted: opened.image.metadata().predicted.clone(),
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
    /// Of all sequences of the batch together.
    batch_tok_s: Option<f64>,
    read_gb_s: f64,
    /// Of the three types of operands; `None` where the machine has no instruction of its own for them.
    int8_tops: Option<f64>,
    bf16_tops: Option<f64>,
    f32_tops: Option<f64>,
}

/// What is measured.
struct Model<'a> {
    engine: Engine<'a>,
    /// For prefill and first token, which begin with an empty cache.
    prompts: Session,
    /// For decode from a longer beginning, which is found in the cache after the first time.
    answers: Option<Session>,
    batch: Batch,
    sampler: Sampler,
    tokens: Vec<u32>,
    lengths: Lengths,
}

impl Model<'_> {
    fn round(&mut self, bandwidth: &Bandwidth) -> Result<Round> {
        let (prefill, first, decode) = (self.prefill()?, self.first_token()?, self.decode()?);
        let together = self.decode_together()?;
        let threads = self.engine.placement().clone();
        let decoded = self.lengths.new * self.batch.sequences().len();
        Ok(Round {
            prefill_tok_s: self.lengths.prompt as f64 / seconds(prefill),
            first_token_ms: seconds(first) * 1e3,
            decode_tok_s: self.lengths.new as f64 / seconds(decode),
            read_gb_s: bandwidth.measure()?,
            batch_tok_s: (decoded > 0).then(|| decoded as f64 / seconds(together)),
            int8_tops: dot::measure(Operands::Int8, &threads, DOT_TIME)?,
            bf16_tops: dot::measure(Operands::Bf16, &threads, DOT_TIME)?,
            f32_tops: dot::measure(Operands::F32, &threads, DOT_TIME)?,
        })
    }

    /// Time of the prompt from an empty cache, with the last position's logits.
    fn prefill(&mut self) -> Result<Duration> {
        self.prompts.truncate(0);
        let start = Instant::now();
        let prompt = &self.tokens[..self.lengths.prompt];
        self.prompts.feed(&mut self.engine, prompt, Wanted::Last, |_, _| Ok(()))?;
        Ok(start.elapsed())
    }

    /// Time from a short prompt to its first token.
    fn first_token(&mut self) -> Result<Duration> {
        self.prompts.truncate(0);
        let start = Instant::now();
        let prompt = &self.tokens[..self.lengths.first];
        self.prompts.feed(&mut self.engine, prompt, Wanted::Last, |_, logits| {
            self.sampler.pick(logits)?;
            Ok(())
        })?;
        Ok(start.elapsed())
    }

    /// Time of the new tokens, each fed and the next one picked; what stands before them is not timed, and run only
    /// once.
    fn decode(&mut self) -> Result<Duration> {
        let mut next = 0;
        let session = self.answers.as_mut().unwrap_or(&mut self.prompts);
        let rest = session.reuse(&self.tokens[..self.lengths.start]);
        session.feed(&mut self.engine, rest, Wanted::Last, |_, logits| {
            next = self.sampler.pick(logits)?;
            Ok(())
        })?;
        let start = Instant::now();
        for _ in 0..self.lengths.new {
            session.feed(&mut self.engine, &[next], Wanted::Last, |_, logits| {
                next = self.sampler.pick(logits)?;
                Ok(())
            })?;
        }
        Ok(start.elapsed())
    }

    /// As `decode`, for all sequences of the batch, which begin differently.
    fn decode_together(&mut self) -> Result<Duration> {
        let count = self.batch.sequences().len();
        for index in 0..count {
            let mut beginning = self.tokens[..self.lengths.start].to_vec();
            beginning.rotate_left(index % self.lengths.start);
            self.batch.begin(&mut self.engine, index, &beginning)?;
        }
        let mut next = vec![self.tokens[0]; count];
        let start = Instant::now();
        for _ in 0..self.lengths.new {
            let fed = next.clone();
            self.batch.feed(&mut self.engine, &fed, |i, logits| {
                next[i] = self.sampler.pick(logits)?;
                Ok(())
            })?;
        }
        Ok(start.elapsed())
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
        let machine = Machine { threads: None, context, chunk: None, kv_type: None, pin: false };
        Lengths::new(&Bench { prompt, new, batch: None, runs: 1, json: false, machine }, 300)
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
