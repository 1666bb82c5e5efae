//! `generate`: continue a text or a list of ids.
//!
//! In: a prompt. Out: only what follows it, streamed, and a line break. Invariant: standard output
//! carries nothing but the continuation; notes and statistics go to standard error.

use std::path::Path;

use crate::cli::{Generate, SamplingArgs};
use crate::commands::opened::{Opened, Use};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::inference::engine::Engine;
use crate::inference::generate::{generate, Ending, Limits, Report, Sampled};
use crate::inference::sampler::{Sampler, Sampling};
use crate::program::Program;
use crate::text::stream::TextStream;
use crate::text::tokenizer::Tokenizer;

const DEFAULT_MAX_TOKENS: usize = 512;

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(
    program: &Program,
    weights: Option<&Path>,
    args: &Generate,
    console: &mut Console,
) -> Result<()> {
    let opened = Opened::new(program, weights)?;
    let prompt = prompt_ids(&opened, args, console)?;
    let speculate = args.speculate.map_or(0, usize::from);
    let wanted = Use { outputs: speculate + 1, sequences: 1, kv: opened.kv(&args.machine)? };
    // SAFETY: by the caller's promise.
    let mut engine = unsafe { opened.engine(program, &args.machine, wanted)? };
    prompt.iter().try_for_each(|&t| engine.check_token(t))?;
    let mut session = opened.session(&engine, &args.machine)?;
    session.adapt(opened.adapter(&args.adapter)?);
    let mut sampler = Sampler::new(sampling(&args.sampling), opened.allowed(program), args.sampling.seed);
    let stop: &[u32] = if args.sampling.ignore_eos { &[] } else { &opened.metadata().stop_tokens };
    let max_tokens = args.sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let limits = Limits { max_tokens, stop_tokens: stop, speculate, interrupted: &|| false };
    let shown = opened.tokenizer.as_ref().filter(|_| !args.print_tokens);
    let mut printer = shown.map_or(Printer::Ids { any: false }, |t| Printer::after(&prompt, t));
    let mut on_token = |sampled| console.print(&printer.push(sampled));
    let report = generate(&mut engine, &mut session, &mut sampler, &prompt, &limits, &mut on_token)?;
    console.print(&printer.finish())?;
    console.print("\n")?;
    if report.ending == Ending::ContextFull {
        console.note(&full_note(session.limit(), session.most()))?;
    }
    if args.sampling.stats {
        console.note(&statistics(&report, &sampler, &engine))?;
    }
    Ok(())
}

/// The note on an answer that ended for lack of room.
pub fn full_note(limit: usize, most: usize) -> String {
    let more = match limit < most {
        true => format!("; --context can be up to {most}"),
        false => ", and this model handles no more".into(),
    };
    format!("note: stopped because the context of {limit} tokens is full{more}")
}

/// The lines of `--stats`.
pub fn statistics(report: &Report, sampler: &Sampler, engine: &Engine) -> String {
    format!("{}seed: {}; {}", report.lines(), sampler.seed(), engine.place())
}

fn sampling(args: &SamplingArgs) -> Sampling {
    Sampling {
        temperature: args.temperature.unwrap_or(0.0),
        top_k: args.top_k.unwrap_or(0),
        top_p: args.top_p.unwrap_or(1.0),
        min_p: args.min_p.unwrap_or(0.0),
    }
}

fn prompt_ids(opened: &Opened, args: &Generate, console: &mut Console) -> Result<Vec<u32>> {
    let ids = match args.prompt.as_ref().or(args.named_prompt.as_ref()) {
        None => args.tokens.clone(),
        Some(text) => {
            let tokenizer = opened.text("read a text prompt")?;
            let text = if text == "-" { console.read_text()? } else { text.clone() };
            tokenizer.encode_prompt(&text)?
        }
    };
    if ids.is_empty() {
        let what = "the prompt is empty; give a text, `-` to read it from standard input, or --tokens 1,2,3";
        return Err(Error::Usage(what.into()));
    }
    Ok(ids)
}

enum Printer<'t> {
    Ids { any: bool },
    Text(TextStream<'t>),
}

impl<'t> Printer<'t> {
    /// For the text that follows a prompt, or that begins where the prompt says nothing.
    fn after(prompt: &[u32], tokenizer: &'t Tokenizer) -> Printer<'t> {
        Printer::Text(match tokenizer.decode(prompt).is_empty() {
            true => TextStream::beginning(tokenizer),
            false => TextStream::new(tokenizer),
        })
    }

    fn push(&mut self, sampled: Sampled) -> String {
        match (self, sampled) {
            (Printer::Ids { any }, Sampled::Token(id) | Sampled::Stop(id)) => {
                let comma = if std::mem::replace(any, true) { "," } else { "" };
                format!("{comma}{id}")
            }
            (Printer::Text(stream), Sampled::Token(id)) => stream.push(id),
            (Printer::Text(_), Sampled::Stop(_)) => String::new(),
        }
    }

    fn finish(&mut self) -> String {
        match self {
            Printer::Ids { .. } => String::new(),
            Printer::Text(stream) => stream.finish(),
        }
    }
}
