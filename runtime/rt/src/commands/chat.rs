//! `chat`: a conversation in turns.
//!
//! In: lines. Out: streamed answers. Invariant: every turn renders the whole history and feeds what
//! the KV cache does not hold yet, so positions, closing tokens and dropped thinking are always the
//! template's; what a user writes never becomes a control token.

use std::path::Path;

use serde_json::json;

use crate::cli::{Chat, SamplingArgs};
use crate::commands::generate::{full_note, statistics};
use crate::commands::opened::{Opened, Use};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::image::metadata::GenerationConfig;
use crate::inference::engine::Engine;
use crate::inference::generate::{generate, Ending, Limits, Sampled};
use crate::inference::sampler::{Sampler, Sampling};
use crate::inference::session::Session;
use crate::interrupt;
use crate::program::Program;
use crate::text::prompt;
use crate::text::template::{ChatTemplate, Conversation};
use crate::text::tokenizer::{TextStream, Tokenizer};

const DEFAULT_MAX_TOKENS: usize = 4096;
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

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
    let template = ChatTemplate::new(metadata.chat_template.as_deref().ok_or(Error::NoTemplate)?)?
        .with_tokens(metadata.bos_token.as_deref(), metadata.eos_token.as_deref());
    let wanted = Use { outputs: 1, sequences: 1, kv: opened.kv(&args.machine)? };
    // SAFETY: by the caller's promise.
    let engine = unsafe { opened.engine(program, &args.machine, wanted)? };
    let session = opened.session(&engine, &args.machine)?;
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
    let mut talk =
        Talk { tokenizer, template, engine, session, sampler, conversation, stop_tokens, max_tokens, stats };
    interrupt::install();
    if let Some(text) = &args.prompt {
        return talk.turn(text, console);
    }
    while let Some(line) = read_line(console)? {
        if line.trim().is_empty() {
            continue;
        }
        let turns = talk.conversation.messages.len();
        match talk.turn(&line, console) {
            // A shorter question may still fit, so the conversation goes on as if this one was not put.
            Err(full @ Error::ContextFull { .. }) => {
                talk.conversation.messages.truncate(turns);
                console.note(&format!("note: {full}"))?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// The next line without its line break; `None` at the end of the input.
fn read_line(console: &mut Console) -> Result<Option<String>> {
    let asks = console.input_is_terminal && console.output_is_terminal;
    if asks {
        console.print("> ")?;
    }
    let mut bytes = Vec::new();
    if console.input.read_until(b'\n', &mut bytes).map_err(Error::input)? == 0 {
        if asks {
            console.print("\n")?;
        }
        return Ok(None);
    }
    // What is no UTF-8 becomes replacement characters, as in a text that was pasted badly.
    let line = String::from_utf8_lossy(&bytes);
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_string()))
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
}

impl Talk<'_> {
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
        // The template itself drops the thinking of earlier turns.
        self.conversation.messages.push(json!({"role": "assistant", "content": answer.text}));
        Ok(())
    }
}

/// An answer as it is printed and as it is remembered.
struct Answer<'t> {
    stream: TextStream<'t>,
    text: String,
    think: [Option<u32>; 2],
    styled: bool,
    dim: bool,
}

impl<'t> Answer<'t> {
    /// `prompt` says whether the template already opened the thinking.
    fn new(tokenizer: &'t Tokenizer, prompt: &str, styled: bool) -> Answer<'t> {
        let think = ["<think>", "</think>"].map(|name| tokenizer.added_id(name));
        let opened = prompt.trim_end().ends_with("<think>");
        // Written back into the history, the answer must show where its thinking began.
        let text = if opened { "<think>\n".to_owned() } else { String::new() };
        Answer { stream: TextStream::beginning(tokenizer), text, think, styled, dim: opened }
    }

    fn push(&mut self, sampled: Sampled) -> String {
        let Sampled::Token(id) = sampled else { return String::new() };
        let [begin, end] = self.think;
        let was_dim = self.dim;
        self.dim = (self.dim || Some(id) == begin) && Some(id) != end;
        let said = self.stream.push(id);
        self.text.push_str(&said);
        self.style(said, was_dim)
    }

    fn finish(&mut self) -> String {
        let said = self.stream.finish();
        self.text.push_str(&said);
        let was_dim = std::mem::replace(&mut self.dim, false);
        self.style(said, was_dim)
    }

    fn style(&self, said: String, was_dim: bool) -> String {
        if !self.styled || !(was_dim || self.dim) || said.is_empty() && was_dim == self.dim {
            return said;
        }
        // Per piece, so that whatever ends the program leaves the terminal plain.
        format!("{DIM}{said}{PLAIN}")
    }
}
