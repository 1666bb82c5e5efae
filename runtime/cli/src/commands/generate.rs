//! `generate`: continue a text or a list of ids.
//!
//! In: a prompt. Out: only what follows it, streamed, and a line break. Invariant: standard output
//! carries nothing but the continuation; notes and statistics go to standard error.

use std::cell::Cell;
use std::path::Path;

use crate::cli::Generate;
use crate::commands::opened::{Opened, Use};
use crate::commands::sampling::defaults;
use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::image::sampling::{filters, greedy, penalties};
use qwenc_engine::inference::engine::Engine;
use qwenc_engine::inference::generate::{generate, Ending, Limits, Report, Sampled};
use qwenc_engine::inference::logits_processor::{Adjust, AdjustedSampler};
use qwenc_engine::inference::sampler::Sampler;
use qwenc_engine::program::Program;
use qwenc_text::stops::Stops;
use qwenc_text::stream::TextStream;
use qwenc_text::tokenizer::Tokenizer;

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
    let how = defaults(greedy(opened.metadata().sampling.clone()), &args.sampling);
    let mut sampler = Sampler::new(filters(&how, false), opened.allowed(program), args.answer.seed);
    let stop: &[u32] = if args.answer.ignore_eos { &[] } else { &opened.metadata().stop_tokens };
    let max_tokens = how.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let stopped = Cell::new(false);
    let limits = Limits { max_tokens, stop_tokens: stop, speculate, interrupted: &|| stopped.get() };
    // Without a tokenizer only ids are printed, and stop texts of the checkpoint mean nothing; those of a flag are refused.
    let texts = if opened.tokenizer.is_some() { &how.stop } else { &args.sampling.stop };
    let mut printer = Printer::new(&opened, &prompt, texts, args.print_tokens)?;
    let mut on_token = |sampled| {
        let said = printer.push(sampled);
        stopped.set(printer.stopped);
        console.print(&said)
    };
    let adjust = Adjust::new(penalties(&how), &prompt);
    let mut adjusted = AdjustedSampler { sampler: &mut sampler, adjust };
    let report = generate(&mut engine, &mut session, &mut adjusted, &prompt, &limits, &mut on_token)?;
    console.print(&printer.finish())?;
    console.print("\n")?;
    if report.ending == Ending::ContextFull {
        console.note(&full_note(session.limit(), session.most()))?;
    }
    if args.answer.stats {
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

/// Printer of the answer, as text or as token ids.
struct Printer<'t> {
    /// Detokeniser; `None` without a tokenizer.
    text: Option<TextStream<'t>>,
    stops: Stops,
    /// Ids are printed instead of text; whether one has been.
    ids: Option<bool>,
    /// A stop string came: the answer is over.
    stopped: bool,
}

impl<'t> Printer<'t> {
    /// For the text that follows a prompt, or that begins where the prompt says nothing; or for ids.
    fn new(opened: &'t Opened, prompt: &[u32], stop: &[String], ids: bool) -> Result<Printer<'t>> {
        let tokenizer: Option<&Tokenizer> = match stop.is_empty() {
            true => opened.tokenizer.as_deref(),
            false => Some(opened.text("look for --stop texts")?),
        };
        let text = tokenizer.map(|tokenizer| match tokenizer.decode(prompt).is_empty() {
            true => TextStream::beginning(tokenizer),
            false => TextStream::new(tokenizer),
        });
        let ids = (ids || text.is_none()).then_some(false);
        Ok(Printer { text, stops: Stops::new(stop.to_vec()), ids, stopped: false })
    }

    fn push(&mut self, sampled: Sampled) -> String {
        let (Sampled::Token(id) | Sampled::Stop(id)) = sampled;
        let said = match (&mut self.text, sampled) {
            (Some(text), Sampled::Token(id)) => text.push(id),
            _ => String::new(),
        };
        let (said, stopped) = self.stops.push(&said);
        self.stopped |= stopped;
        match &mut self.ids {
            None => said,
            Some(any) => {
                let comma = if std::mem::replace(any, true) { "," } else { "" };
                format!("{comma}{id}")
            }
        }
    }

    fn finish(&mut self) -> String {
        let rest = match &mut self.text {
            Some(text) if self.ids.is_none() && !self.stopped => text.finish(),
            _ => return String::new(),
        };
        let (said, stopped) = self.stops.push(&rest);
        if stopped {
            return said;
        }
        said + &self.stops.finish()
    }
}
