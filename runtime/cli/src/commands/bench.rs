//! `bench`: how fast the model runs here, beside what the machine can do at most.
//!
//! In: lengths and a number of rounds. Out: a table, or a JSON object. Invariant: every round measures the
//! model and the machine, so that each share is of what the machine did at that moment; a round before them
//! is not counted.

mod model;
mod probe;
mod report;

use std::path::Path;
use std::time::Duration;

use crate::cli::Bench;
use crate::commands::bench::model::Model;
use crate::commands::bench::probe::{Limits, Place, Probe};
use crate::commands::bench::report::{Report, Traffic};
use crate::commands::opened::{Opened, Use};
use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::batch::Batch;
use qwenc_engine::inference::sampler::{Sampler, Sampling};
use qwenc_engine::inference::session::{check_context, Session};
use qwenc_engine::machine::system;
use qwenc_engine::program::Program;

const DEFAULT_PROMPT: usize = 512;
const DEFAULT_NEW: usize = 128;
/// Tokens of the prompt whose first token is timed.
const FIRST_PROMPT: usize = 16;

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
    let sizes = program.code.sizes();
    let lengths = Lengths::new(args, sizes.max_context as usize)?;
    let opened = match args.synthetic_weights {
        true => Opened::synthetic(program, weights)?,
        false => Opened::new(program, weights)?,
    };
    // SAFETY: by the caller's promise.
    let mut model = unsafe { measured(program, &opened, args, lengths)? };
    console.progress("warming up: prefill")?;
    model.prefill()?;
    model.first_token()?;
    console.progress("warming up: decode")?;
    model.decode()?;
    // Before the batch and the probe's own buffer count.
    let peak_memory = system::peak_memory_bytes().unwrap_or_default();
    model.decode_together()?;
    let probe = Probe::new(&model.engine)?;
    probe.measure()?;
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=args.runs {
        let last = rounds.last().map(Round::words).unwrap_or_default();
        console.progress(&format!("round {number} of {}{last}", args.runs))?;
        rounds.push(model.round(&probe)?);
    }
    let profiled = args.profile.then(|| model.profile()).transpose()?;
    console.progress("")?;
    let about = opened.metadata();
    let report = Report {
        rounds,
        lengths,
        place: Place::of(program, &model.engine),
        batch: args.batch.map(usize::from),
        traffic: Traffic::of(&sizes, about),
        weight_type: about.model.weight_type.clone(),
        synthetic: args.synthetic_weights,
        inputs: about.model.inputs.clone(),
        kv_type: opened.kv(&args.machine)?,
        predicted: about.predicted.clone(),
        profiled,
        peak_memory,
    };
    if args.json {
        return console.print(&format!("{:#}\n", report.json()));
    }
    console.print(&report.table())
}

/// The model with all sequences that are run.
///
/// # Safety
/// As for [`Opened::engine`].
unsafe fn measured<'a>(
    program: &Program<'a>,
    opened: &'a Opened,
    args: &Bench,
    lengths: Lengths,
) -> Result<Model<'a>> {
    let (machine, context, kv) = (&args.machine, args.machine.context, opened.kv(&args.machine)?);
    let count = args.batch.map_or(0, usize::from);
    // A beginning of one token is not worth a cache of its own.
    let long = lengths.start > 1;
    let wanted = Use { outputs: count.max(1), sequences: 1 + usize::from(long) + count, kv };
    // SAFETY: by the caller's promise.
    let engine = unsafe { opened.engine(program, machine, wanted)? };
    let rows = program.code.sizes().vocab_rows as usize;
    let known = opened.tokenizer.as_ref().map_or(rows, |t| t.size().clamp(1, rows));
    Ok(Model {
        prompts: Session::new(&engine, context, kv)?,
        answers: long.then(|| Session::new(&engine, context, kv)).transpose()?,
        batch: Batch::new(&engine, count, context, kv)?,
        sampler: Sampler::new(Sampling::GREEDY, opened.allowed(program), Some(0)),
        tokens: prompt(lengths.prompt.max(lengths.first).max(lengths.start), known),
        engine,
        lengths,
    })
}

/// Numbers of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lengths {
    /// Tokens of the prompt for prefill.
    prompt: usize,
    /// Tokens of the prompt for the first token.
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

/// Measurements of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    prefill_tok_s: f64,
    first_token_ms: f64,
    decode_tok_s: f64,
    /// Decode speed of all sequences of the batch together, tok/s.
    batch_tok_s: Option<f64>,
    limits: Limits,
}

impl Round {
    /// Speeds of the last round, for the progress line.
    fn words(&self) -> String {
        format!(
            "; the last one: prefill {:.0} tok/s, decode {:.1} tok/s",
            self.prefill_tok_s, self.decode_tok_s
        )
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
        let machine = Machine {
            threads: None,
            pin: false,
            device: None,
            decode: None,
            context,
            chunk: None,
            kv_type: None,
        };
        let (batch, runs, synthetic_weights, profile, json) = (None, 1, false, false, false);
        Lengths::new(&Bench { prompt, new, batch, runs, synthetic_weights, profile, json, machine }, 300)
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
