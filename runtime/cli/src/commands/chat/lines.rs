//! Source of questions: a terminal with history and line editing, or any other input line by line.
//!
//! In: keys, or lines. Out: texts, those of a line that ends in `\` joined with the next. Invariant: a block that was
//! pasted is one text, as it is; what was typed stays in memory and is written nowhere.

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::orders;
use super::terminal::Quiet;
use crate::console::Console;
use qwenc_engine::error::{Error, Result};

const PROMPT: &str = "you> ";
/// Prompt of a continued line.
const AND: &str = "...> ";

/// A source of texts.
pub(super) struct Lines {
    source: Source,
    /// Hides what is typed while nothing is asked; none without a terminal.
    quiet: Option<Quiet>,
}

enum Source {
    /// A person with a terminal that can move its cursor.
    Editor(Box<Editor<Orders, MemHistory>>),
    /// Lines as they come, from another terminal or from a program.
    Plain,
}

/// One line.
enum Line {
    Text(String),
    /// Ctrl-C: whatever was begun is dropped.
    Dropped,
    End,
}

impl Lines {
    /// The best that this console allows.
    pub(super) fn new(console: &Console, quiet: Option<Quiet>) -> Lines {
        Lines { source: Source::new(console), quiet }
    }

    /// Whether a person edits lines.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self.source, Source::Editor(_))
    }

    /// The next text that is not blank; none at the end of the input.
    pub(super) fn next(&mut self, console: &mut Console) -> Result<Option<String>> {
        loop {
            let mut text = String::new();
            let more = loop {
                let line = self.line(if text.is_empty() { PROMPT } else { AND }, console)?;
                match line {
                    Line::Text(line) => match line.strip_suffix('\\') {
                        Some(line) => text += &format!("{line}\n"),
                        None => {
                            text += &line;
                            break true;
                        }
                    },
                    Line::Dropped => {
                        console.note("(Ctrl-D or /quit ends the conversation)")?;
                        text.clear();
                        break true;
                    }
                    Line::End => break false,
                }
            };
            if !text.trim().is_empty() {
                if let Source::Editor(editor) = &mut self.source {
                    // Without it only that text cannot be called back.
                    let _ = editor.add_history_entry(&text);
                }
                return Ok(Some(text));
            }
            if !more {
                return Ok(None);
            }
        }
    }

    fn line(&mut self, prompt: &str, console: &mut Console) -> Result<Line> {
        match &mut self.source {
            Source::Plain => {
                self.quiet.iter().for_each(Quiet::pause);
                let line = plain(prompt, console);
                self.quiet.iter().for_each(Quiet::resume);
                line
            }
            Source::Editor(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Dropped),
                Err(ReadlineError::Io(source)) => Err(Error::input(source)),
                Err(other) => Err(Error::input(std::io::Error::other(other.to_string()))),
            },
        }
    }
}

impl Source {
    fn new(console: &Console) -> Source {
        let moves =
            std::env::var("TERM").is_ok_and(|term| !["", "dumb", "cons25", "emacs"].contains(&&*term));
        if !(moves && console.input_is_terminal && console.output_is_terminal) {
            return Source::Plain;
        }
        let config = Config::builder().auto_add_history(false).build();
        let history = MemHistory::with_config(&config);
        match Editor::with_history(config, history) {
            Ok(mut editor) => {
                editor.set_helper(Some(Orders));
                Source::Editor(Box::new(editor))
            }
            // Lines can be read without it.
            Err(_) => Source::Plain,
        }
    }
}

/// A line without its line break.
fn plain(prompt: &str, console: &mut Console) -> Result<Line> {
    let asks = console.input_is_terminal && console.output_is_terminal;
    if asks {
        console.print(prompt)?;
    }
    let mut bytes = Vec::new();
    if console.input.read_until(b'\n', &mut bytes).map_err(Error::input)? == 0 {
        if asks {
            console.print("\n")?;
        }
        return Ok(Line::End);
    }
    // Bytes that are no UTF-8 become replacement characters, as in a text that was pasted badly.
    let line = String::from_utf8_lossy(&bytes);
    Ok(Line::Text(line.trim_end_matches(['\n', '\r']).to_string()))
}

/// Completes orders.
pub(super) struct Orders;

impl Completer for Orders {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = &line[..at];
        let known =
            orders::NAMES.iter().filter(|(name, ..)| begun.starts_with('/') && name.starts_with(begun));
        Ok((0, known.map(|(name, ..)| (*name).to_owned()).collect()))
    }
}

impl Hinter for Orders {
    type Hint = String;
}

impl Highlighter for Orders {}

impl Validator for Orders {}

impl Helper for Orders {}
