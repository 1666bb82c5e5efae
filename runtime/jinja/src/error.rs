//! Errors of templates.
//!
//! In: what is wrong, and the line. Out: one enum. Invariant: the message of `raise_exception` arrives unchanged.

/// The reason why a template cannot be parsed or rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The source is not a template.
    #[error("template syntax, line {line}: {message}")]
    Syntax {
        /// Line in the source, from 1.
        line: u32,
        /// Description.
        message: String,
    },
    /// An operation that Python or Jinja refuses.
    #[error("line {line}: {message}")]
    Runtime {
        /// Line in the source, from 1.
        line: u32,
        /// Description.
        message: String,
    },
    /// `raise_exception(message)`.
    #[error("{0}")]
    Raised(String),
    /// A limit of this crate: fuel, memory, depth.
    #[error("{0}")]
    Limit(String),
}

/// The result of everything that a template does.
pub(crate) type Outcome<T> = Result<T, Fault>;

/// The beginning of a name, for a message: messages live as long as values, and are not counted.
pub(crate) fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(200)]
}

/// An operation that Python refuses; the interpreter adds the line.
pub(crate) fn refuse<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Fault::Runtime { line: 0, message: message.into() })
}

impl Fault {
    /// Adds the line where it is not known yet.
    pub(crate) fn at(self, at: u32) -> Fault {
        match self {
            Fault::Runtime { line: 0, message } => Fault::Runtime { line: at, message },
            other => other,
        }
    }
}
