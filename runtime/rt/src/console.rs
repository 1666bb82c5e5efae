//! The three streams of a program, and whether a person is at them. In: text. Out: text, written at once.
//!
//! Invariant: commands read and write through this alone, never `stdin()` or `println!`, so that tests run
//! them in-process.

use std::io::{BufRead, Write};

use crate::error::{Error, Result};

/// Its streams.
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

    /// Writes a line to standard error.
    pub fn note(&mut self, text: &str) -> Result<()> {
        writeln!(self.errors, "{text}").map_err(Error::output)
    }
}
