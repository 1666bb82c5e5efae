//! Problems of a file, each with the check that found it. In: an error. Out: its words with their check.
//!
//! Invariant: every error has a check; a new kind of error is given one here.

use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

use crate::error::Error;

/// Subject of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The file: header, sizes, hash, texts.
    File,
    /// config.json, and what is said elsewhere of the same.
    Config,
    /// Which tensors there are.
    Names,
    /// Their axes.
    Shapes,
    /// Formats of their elements.
    Types,
    /// Whether they hold numbers.
    Values,
    /// Gains of norms.
    Norms,
    /// Scales of quantised tensors.
    Scales,
    /// Embedding and LM head.
    Head,
    /// The vocabulary.
    Tokenizer,
}

impl Check {
    /// Every one, in the order in which a person reads them.
    pub const ALL: [Check; 10] = [
        Check::File,
        Check::Config,
        Check::Names,
        Check::Shapes,
        Check::Types,
        Check::Values,
        Check::Norms,
        Check::Scales,
        Check::Head,
        Check::Tokenizer,
    ];

    /// Name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Check::File => "file",
            Check::Config => "config",
            Check::Names => "names",
            Check::Shapes => "shapes",
            Check::Types => "types",
            Check::Values => "values",
            Check::Norms => "norms",
            Check::Scales => "scales",
            Check::Head => "head",
            Check::Tokenizer => "tokenizer",
        }
    }

    fn of(error: &Error) -> Check {
        match error {
            Error::MissingTensor { .. } | Error::UnexpectedTensor { .. } | Error::AnotherFamily { .. } => {
                Check::Names
            }
            // Either says what it expected: axes, or a type.
            Error::TensorMismatch { expected, .. } if expected.starts_with('[') => Check::Shapes,
            Error::TensorMismatch { .. } => Check::Types,
            Error::NotFinite { tensor, .. } if tensor.ends_with(".scales") => Check::Scales,
            Error::NotFinite { .. } | Error::Integer { .. } => Check::Values,
            Error::BeyondScale { .. } | Error::Group { .. } => Check::Scales,
            Error::TiedHead { .. } => Check::Head,
            Error::Field { .. } | Error::Unsupported { .. } | Error::Unstated { .. } => Check::Config,
            _ => Check::File,
        }
    }
}

/// Something wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Check that found it.
    pub check: Check,
    text: String,
}

impl Problem {
    pub(crate) fn new(check: Check, text: impl Into<String>) -> Problem {
        Problem { check, text: text.into() }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Problem {
        Problem::new(Check::of(error), error.to_string())
    }
}

impl Deref for Problem {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
