//! `chat`: a conversation in turns.
//!
//! In: lines. Out: streamed answers; what `orders` say goes to standard error. Invariant: every turn renders the whole history and feeds what
//! the KV cache does not hold yet, so positions, closing tokens and dropped thinking are always the
//! template's; what a user writes never becomes a control token.

mod answer;
mod lines;
mod orders;

use std::path::Path;

use serde_json::json;

use crate::cli::{Chat, SamplingArgs};
use crate::commands::generate::{full_note, statistics};
use crate::commands::opened::{Opened, Use};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::image::metadata::GenerationConfig;
use crate::inference::engine::Engine;
use crate::inference::generate::{generate, Ending, Limits, Report};
use crate::inference::sampler::{Sampler, Sampling};
use crate::inference::session::Session;
use crate::interrupt;
use crate::program::Program;
use crate::text::prompt;
use crate::text::template::{ChatTemplate, Conversation};
use crate::text::tokenizer::Tokenizer;

use answer::{dimmed, Answer};
use lines::Lines;
use orders::Order;

const DEFAULT_MAX_TOKENS: usize = 4096;

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
    let opened = Opened::new(program, weights)?;
    let tokenizer = opened.text("chat")?;
    let metadata = opened.metadata();
    let template = opened.template()?;
    let wanted = Use { outputs: 1, sequences: 1, kv: opened.kv(&args.machine)? };
    // SAFETY: by the caller's promise.
    let engine = unsafe { opened.engine(program, &args.machine, wanted)? };
    let mut session = opened.session(&engine, &args.machine)?;
    session.adapt(opened.adapter(&args.adapter)?);
    let how = sampling(&args.sampling, metadata.generation_config);
    let sampler = Sampler::new(how, opened.allowed(program), args.sampling.seed);
    let stop_tokens = if args.sampling.ignore_eos { Vec::new() } else { metadata.stop_tokens.clone() };
    let enable_thinking = (args.think || args.no_think).then_some(args.think);
    let mut conversation = Conversation { enable_thinking, ..Conversation::default() };
    if let Some(text) = &args.system {
        conversation.messages.push(json!({"role": "system", "content": text}));
    }
    let max_tokens = args.sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let stats = args.sampling.stats;
    let last = None;
    let mut talk = Talk {
        tokenizer,
        template,
        engine,
        session,
        sampler,
        conversation,
        stop_tokens,
        max_tokens,
        stats,
        last,
    };
    if let Some(text) = &args.prompt {
        interrupt::install();
        return talk.turn(text, console);
    }
    let mut lines = Lines::new(console);
    // After the editor, which sets dispositions of its own.
    interrupt::install();
    talk.all(&mut lines, console)
}

/// Flags first, then the checkpoint's word; without `do_sample` an answer is greedy, as in
/// transformers.
fn sampling(args: &SamplingArgs, config: Option<GenerationConfig>) -> Sampling {
    let config = config.unwrap_or_default();
    let samples = config.do_sample.unwrap_or(false);
    let temperature = if samples { config.temperature.unwrap_or(1.0) } else { 0.0 };
    Sampling {
        temperature: args.temperature.unwrap_or(temperature),
        top_k: args.top_k.or(config.top_k).unwrap_or(0),
        top_p: args.top_p.or(config.top_p).unwrap_or(1.0),
        min_p: args.min_p.or(config.min_p).unwrap_or(0.0),
    }
}

struct Talk<'a> {
    tokenizer: &'a Tokenizer,
    template: ChatTemplate,
    engine: Engine<'a>,
    session: Session,
    sampler: Sampler,
    conversation: Conversation,
    stop_tokens: Vec<u32>,
    max_tokens: usize,
    stats: bool,
    /// What happened in the last turn.
    last: Option<Report>,
}

impl Talk<'_> {
    /// Questions and orders until there are no more.
    fn all(&mut self, lines: &mut Lines, console: &mut Console) -> Result<()> {
        while let Some(line) = lines.next(console)? {
            let turns = self.conversation.messages.len();
            let done = match orders::read(&line) {
                Some(Ok(Order::Quit)) => return Ok(()),
                Some(Ok(order)) => self.obey(order, console),
                Some(Err(wrong)) => Err(Error::Usage(wrong)),
                None => self.turn(&line, console).and_then(|()| self.speed(lines, console)),
            };
            match done {
                // Another line may fare better, so the conversation goes on as if this one was not there.
                Err(e) if e.is_about_a_line() => {
                    self.conversation.messages.truncate(turns);
                    console.note(&format!("note: {e}"))?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: Order, console: &mut Console) -> Result<()> {
        let conversation = &mut self.conversation;
        let said = match order {
            Order::Reset => {
                orders::reset(conversation);
                "the conversation begins anew".into()
            }
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
                *conversation = orders::load(&path)?;
                format!("{} messages came from {}", conversation.messages.len(), path.display())
            }
            Order::Stats => self.statistics(),
            Order::Help => orders::help(),
            // `all` ends with it.
            Order::Quit => String::new(),
        };
        console.note(&said)
    }

    fn statistics(&self) -> String {
        let held = format!("context: {} of {} tokens", self.session.tokens().len(), self.session.limit());
        match &self.last {
            None => held,
            Some(report) => format!("{}\n{held}", statistics(report, &self.sampler, &self.engine)),
        }
    }

    /// How fast the answer was, for a person at a terminal.
    fn speed(&self, lines: &Lines, console: &mut Console) -> Result<()> {
        let Some(report) = self.last.filter(|r| lines.is_terminal() && !self.stats && r.decode_tokens > 0)
        else {
            return Ok(());
        };
        let rate = report.decode_tokens as f64 / report.decode_time.as_secs_f64().max(1e-9);
        console.print(&dimmed(&format!("[{} tokens, {rate:.1} tok/s]\n", report.decode_tokens)))
    }

    /// One question and its answer, which both go into the history.
    fn turn(&mut self, text: &str, console: &mut Console) -> Result<()> {
        self.conversation.messages.push(json!({"role": "user", "content": text}));
        let prompt = prompt::encode(&self.template, self.tokenizer, &self.conversation)?;
        let rest = self.session.reuse(&prompt.ids);
        let mut answer = Answer::new(self.tokenizer, &prompt.text, console.output_is_terminal);
        let limits = Limits {
            max_tokens: self.max_tokens,
            stop_tokens: &self.stop_tokens,
            speculate: 0,
            interrupted: &interrupt::interrupted,
        };
        interrupt::answer_begins();
        let report =
            generate(&mut self.engine, &mut self.session, &mut self.sampler, rest, &limits, &mut |sampled| {
                console.print(&answer.push(sampled))
            });
        interrupt::answer_ends();
        console.print(&answer.finish())?;
        let report = report?;
        console.print("\n")?;
        match report.ending {
            Ending::ContextFull => console.note(&full_note(self.session.limit()))?,
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
        self.conversation.messages.push(json!({"role": "assistant", "content": answer.text}));
        Ok(())
    }
}
