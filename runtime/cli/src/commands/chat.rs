//! `chat`: a conversation in turns.
//!
//! In: lines. Out: streamed answers; what `orders` say goes to standard error. Invariant: every turn renders the
//! history and feeds what the KV cache does not hold yet, so positions, closing tokens and dropped thinking are always
//! the template's; what a user writes never becomes a control token. Where the context is full the oldest turns are
//! left out, with a note; a program that reads standard output gets the answers as they are.

mod answer;
mod history;
mod lines;
mod orders;
mod terminal;
mod wrap;

use std::cell::Cell;
use std::path::Path;

use qwenc_abi::metadata::{Metadata, SamplingDefaults};
use serde_json::json;

use crate::cli::Chat;
use crate::commands::generate::{full_note, statistics};
use crate::commands::opened::{Opened, Use};
use crate::commands::sampling::defaults;
use crate::console::Console;
use crate::interrupt;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::image::metadata::thinks;
use qwenc_engine::image::sampling::{filters, penalties};
use qwenc_engine::inference::engine::Engine;
use qwenc_engine::inference::generate::{generate, Ending, Limits, Report};
use qwenc_engine::inference::logits_processor::{Adjust, AdjustedSampler};
use qwenc_engine::inference::sampler::Sampler;
use qwenc_engine::inference::session::Session;
use qwenc_engine::program::Program;
use qwenc_text::prompt::{self, Prompt};
use qwenc_text::template::{ChatTemplate, Conversation};
use qwenc_text::tokenizer::Tokenizer;

use answer::{dimmed, Answer};
use history::History;
use lines::Lines;
use orders::Order;
use terminal::Quiet;

const DEFAULT_MAX_TOKENS: usize = 4096;
/// An answer gets at least this part of the context, unless `--max-tokens` wants less: else turns are left out.
const LEAST_ROOM: usize = 8;
/// The part of the context that is made free then, so that it does not happen again at every turn.
const MADE_ROOM: usize = 4;

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(
    program: &Program,
    weights: Option<&Path>,
    args: &Chat,
    console: &mut Console,
) -> Result<()> {
    // From now on, so that what is typed while the model is loaded waits for the first prompt.
    let talks = args.prompt.is_none() && console.input_is_terminal && console.output_is_terminal;
    let quiet = talks.then(Quiet::begin).flatten();
    if quiet.is_some() {
        // Ctrl-C while the model is loaded leaves the terminal as it was.
        interrupt::install();
    }
    let opened = Opened::new(program, weights)?;
    let tokenizer = opened.text("chat")?;
    let metadata = opened.metadata();
    let template = opened.template()?;
    template.check(false)?;
    let wanted = Use { outputs: 1, sequences: 1, kv: opened.kv(&args.machine)? };
    // SAFETY: by the caller's promise.
    let engine = unsafe { opened.engine(program, &args.machine, wanted)? };
    let mut session = opened.session(&engine, &args.machine)?;
    session.adapt(opened.adapter(&args.adapter)?);
    let how = defaults(metadata.sampling.clone(), &args.sampling);
    let sampler = Sampler::new(filters(&how, false), opened.allowed(program), args.answer.seed);
    let stop_tokens = if args.answer.ignore_eos { Vec::new() } else { metadata.stop_tokens.clone() };
    let enable_thinking = (args.think || args.no_think).then_some(args.think);
    let mut conversation = Conversation { enable_thinking, ..Conversation::default() };
    if let Some(text) = &args.system {
        conversation.messages.push(json!({"role": "system", "content": text}));
    }
    let max_tokens = how.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let mut talk = Talk {
        tokenizer,
        template,
        engine,
        session,
        metadata,
        how,
        sampler,
        history: History::new(conversation),
        stop_tokens,
        max_tokens,
        stats: args.answer.stats,
        goes_on: args.prompt.is_none(),
        last: None,
    };
    if let Some(text) = &args.prompt {
        interrupt::install();
        return talk.turn(text, console);
    }
    let mut lines = Lines::new(console, quiet);
    // After the editor, which sets dispositions of its own.
    interrupt::install();
    if talks && !console.quiet {
        console.note(&greeting(&metadata.model.name, talk.session.limit()))?;
    }
    talk.all(&mut lines, talks, console)
}

/// The first line at a terminal.
fn greeting(name: &str, context: usize) -> String {
    let name = if name.is_empty() { "model" } else { name };
    format!("{name}, context of {context} tokens. /help shows what you can type, Ctrl-D or /quit ends.")
}

struct Talk<'a> {
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    engine: Engine<'a>,
    session: Session,
    metadata: &'a Metadata,
    how: SamplingDefaults,
    sampler: Sampler,
    history: History,
    stop_tokens: Vec<u32>,
    max_tokens: usize,
    stats: bool,
    /// Whether more questions may follow.
    goes_on: bool,
    /// Times and counts of the last turn.
    last: Option<Report>,
}

impl Talk<'_> {
    /// Questions and orders until there are no more. `typed`: a person types them.
    fn all(&mut self, lines: &mut Lines, typed: bool, console: &mut Console) -> Result<()> {
        while let Some(line) = lines.next(console)? {
            let before = self.history.mark();
            let done = match orders::read(&line, typed) {
                Some(Ok(Order::Quit)) => return Ok(()),
                Some(Ok(order)) => self.obey(order, console),
                Some(Err(wrong)) => Err(Error::Usage(wrong)),
                None => self.turn(&line, console).and_then(|()| self.speed(lines, console)),
            };
            match done {
                // Another line may fare better, so the conversation goes on as if this one was not there.
                Err(e) if e.is_about_a_line() => {
                    self.history.return_to(before);
                    console.note(&format!("note: {e}"))?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: Order, console: &mut Console) -> Result<()> {
        let conversation = &mut self.history.all;
        let said = match order {
            Order::Reset => {
                self.history.reset();
                "the conversation begins anew".into()
            }
            Order::Drop(count) => self.drop_turns(count),
            Order::System(text) => {
                orders::set_system(conversation, text.as_deref());
                text.map_or("no system message", |_| "the system message is set").into()
            }
            Order::Think(think) => {
                conversation.enable_thinking = Some(think);
                if think { "thinking is on" } else { "thinking is off" }.into()
            }
            Order::Save(path) => {
                orders::save(conversation, &path)?;
                format!("{} messages are in {}", conversation.messages.len(), path.display())
            }
            Order::Load(path) => {
                self.history = History::new(orders::load(&path)?);
                format!("{} messages came from {}", self.history.all.messages.len(), path.display())
            }
            Order::Stats => self.statistics(),
            Order::Help => orders::help(),
            // `all` ends with it.
            Order::Quit => String::new(),
        };
        console.note(&said)
    }

    fn drop_turns(&mut self, count: usize) -> String {
        let turns = self.history.turns();
        if count >= turns {
            self.history.reset();
            return format!("all {turns} turns are forgotten: the conversation begins anew");
        }
        let dropped = (0..count).take_while(|_| self.history.leave_out_oldest()).count();
        format!(
            "the model no longer gets the {}; {} left",
            turns_text(dropped, "oldest "),
            turns_text(turns - dropped, "")
        )
    }

    fn statistics(&self) -> String {
        let held = format!("context: {} of {} tokens", self.session.tokens().len(), self.session.limit());
        match &self.last {
            None => held,
            Some(report) => format!("{}\n{held}", statistics(report, &self.sampler, &self.engine)),
        }
    }

    /// Writes the speed of the answer, for a person at a terminal.
    fn speed(&self, lines: &Lines, console: &mut Console) -> Result<()> {
        let Some(report) = self.last.filter(|r| lines.is_terminal() && !self.stats && r.decode_tokens > 0)
        else {
            return Ok(());
        };
        let rate = report.decode_tokens as f64 / report.decode_time.as_secs_f64().max(1e-9);
        console.print(&dimmed(&format!("[{} tokens, {rate:.1} tok/s]\n", report.decode_tokens)))
    }

    /// The prompt for the last question, without the oldest turns where they leave too little room for an answer.
    fn prompt(&mut self, console: &mut Console) -> Result<Prompt> {
        let limit = self.session.limit();
        let fits = |prompt: &Prompt, part| prompt.ids.len() + self.max_tokens.min(limit / part) <= limit;
        let encode = |history: &History| prompt::encode(&self.template, self.tokenizer, &history.sent());
        let mut prompt = encode(&self.history)?;
        if fits(&prompt, LEAST_ROOM) {
            return Ok(prompt);
        }
        let turns = self.history.turns();
        while !fits(&prompt, MADE_ROOM) {
            // Half of the turns that hold what is too much, if all are as long: so few steps are enough for any number.
            let excess = prompt.ids.len() + self.max_tokens.min(limit / MADE_ROOM) - limit;
            let count = (self.history.turns() * excess / prompt.ids.len() / 2).max(1);
            if (0..count).take_while(|_| self.history.leave_out_oldest()).count() == 0 {
                break;
            }
            prompt = encode(&self.history)?;
        }
        let dropped = turns - self.history.turns();
        // A message that does not fit even alone is refused when it is fed.
        if dropped > 0 && prompt.ids.len() <= limit {
            let which = turns_text(dropped, "oldest ");
            console.note(&format!(
                "note: the context of {limit} tokens is full, so the model no longer gets the {which}; /reset begins anew"
            ))?;
        }
        Ok(prompt)
    }

    /// One question and its answer, which both go into the history.
    fn turn(&mut self, text: &str, console: &mut Console) -> Result<()> {
        self.history.all.messages.push(json!({"role": "user", "content": text}));
        let prompt = self.prompt(console)?;
        let rest = self.session.reuse(&prompt.ids);
        let width = console.output_is_terminal.then(terminal::width);
        let mut answer = Answer::new(self.tokenizer, &prompt.text, &self.how.stop, width);
        let stopped = Cell::new(false);
        self.sampler.set(filters(&self.how, thinks(self.metadata, &prompt.text)));
        let adjust = Adjust::new(penalties(&self.how), &prompt.ids);
        let mut sampler = AdjustedSampler { sampler: &mut self.sampler, adjust };
        let limits = Limits {
            max_tokens: self.max_tokens,
            stop_tokens: &self.stop_tokens,
            speculate: 0,
            interrupted: &|| stopped.get() || interrupt::interrupted(),
        };
        interrupt::answer_begins();
        let report =
            generate(&mut self.engine, &mut self.session, &mut sampler, rest, &limits, &mut |sampled| {
                let said = answer.push(sampled);
                stopped.set(answer.stopped);
                console.print(&said)
            });
        interrupt::answer_ends();
        console.print(&answer.finish())?;
        let report = report?;
        console.print("\n")?;
        match report.ending {
            Ending::ContextFull if self.goes_on => console.note(&format!(
                "note: the answer ends here because the context of {} tokens is full; the next question makes room by \
                 leaving out the oldest turns, /reset begins anew",
                self.session.limit()
            ))?,
            Ending::ContextFull => console.note(&full_note(self.session.limit(), self.session.most()))?,
            Ending::MaxTokens => {
                console
                    .note(&format!("note: stopped after {} tokens (see --max-tokens)", self.max_tokens))?;
            }
            Ending::StopToken | Ending::Interrupted => {}
        }
        if self.stats {
            console.note(&statistics(&report, &self.sampler, &self.engine))?;
        }
        self.last = Some(report);
        // The template itself drops the thinking of earlier turns.
        self.history.all.messages.push(json!({"role": "assistant", "content": answer.text}));
        Ok(())
    }
}

fn turns_text(count: usize, which: &str) -> String {
    match count {
        1 => format!("{which}turn"),
        n => format!("{n} {which}turns"),
    }
}
