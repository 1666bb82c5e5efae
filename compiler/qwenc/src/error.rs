//! Errors of `compile`: refusals and failures.
//!
//! In: errors of all crates. Out: one, whose text names everything once. Invariant: misuse and failure stay apart: the
//! command's exit code tells them.

use std::fmt;

/// Why nothing was compiled.
#[derive(Debug)]
pub enum Error {
    /// Options that make no sense, or not together.
    Misuse(String),
    /// Anything else: a file, a model, a tool.
    Failed(anyhow::Error),
}

impl Error {
    /// Whether the options are to blame.
    pub fn is_misuse(&self) -> bool {
        matches!(self, Error::Misuse(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Misuse(what) => f.write_str(what),
            Error::Failed(error) => f.write_str(&message(error)),
        }
    }
}

impl std::error::Error for Error {}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Error {
        match error.downcast::<Misuse>() {
            Ok(Misuse(what)) => Error::Misuse(what),
            Err(error) => Error::Failed(error),
        }
    }
}

/// The error and its causes, each said once: many messages quote their cause themselves.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &cause;
        }
    }
    text
}

/// Arguments that are well-formed but make no sense together.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
