//! The three streams of a program, and whether a person is at them. In: text. Out: text, written at once.
//!
//! Invariant: commands read and write through this alone, never `stdin()` or `println!`, so that tests run
//! them in-process.

use std::io::{BufRead, Write};

use qwenc_engine::error::{Error, Result};

/// The streams of a program.
pub struct Console<'a> {
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Standard output.
    pub output: &'a mut dyn Write,
    /// Standard error.
    pub errors: &'a mut dyn Write,
    /// Whether a person is typing.
    pub input_is_terminal: bool,
    /// Whether a person is reading.
    pub output_is_terminal: bool,
    /// Whether standard error is a terminal, on which progress is shown.
    pub errors_is_terminal: bool,
    /// Whether notes are left out.
    pub quiet: bool,
}

impl Console<'_> {
    /// All of the input but one final line break.
    pub fn read_text(&mut self) -> Result<String> {
        let mut text = String::new();
        self.input.read_to_string(&mut text).map_err(Error::input)?;
        let line = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t).len());
        text.truncate(line.unwrap_or(text.len()));
        Ok(text)
    }

    /// Writes to standard output at once.
    pub fn print(&mut self, text: &str) -> Result<()> {
        self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush()).map_err(Error::output)
    }

    /// Writes a line to standard error; with `--quiet` not those that say what goes on by themselves.
    pub fn note(&mut self, text: &str) -> Result<()> {
        if self.quiet && ["note: ", "ready: "].iter().any(|start| text.starts_with(start)) {
            return Ok(());
        }
        writeln!(self.errors, "{text}").map_err(Error::output)
    }

    /// Replaces the line of progress on a terminal; an empty one removes it. Nothing elsewhere, and with `--quiet`.
    pub fn progress(&mut self, line: &str) -> Result<()> {
        if self.quiet || !self.errors_is_terminal {
            return Ok(());
        }
        write!(self.errors, "\r\x1b[K{line}").and_then(|()| self.errors.flush()).map_err(Error::output)
    }
}
