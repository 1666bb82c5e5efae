//! Work of a sandbox process for one answer: it prepares the format, then says after each token what may follow.
//!
//! In: a budget and a shape, then tokens. Out: one message for each. Invariant: each task has a budget of processor time, and
//! one that goes beyond it ends the process, not the server.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::constrain::grammar::{Grammars, Position, Words};
use crate::constrain::Shape;
use crate::sandbox::limits::{self, PREPARATION, STEP};
use crate::sandbox::{frame, Job};
use qwenc_engine::error::{Error, Result};

/// Grammars of the model's vocabulary.
pub struct Keeper(Grammars);

/// Message of a sandbox process.
pub enum Said {
    /// These tokens may follow, one bit an id.
    Next {
        /// Bytes that the process holds.
        held: i64,
        /// The bits.
        words: Vec<u32>,
    },
    /// Nothing may: the answer is complete.
    Over,
    /// Why the format is refused, or cannot go on.
    Refused(String),
}

impl Job for Keeper {
    fn prepare(preparation: &[u8]) -> std::result::Result<Keeper, String> {
        let words: Words = serde_json::from_slice(preparation).map_err(|e| e.to_string())?;
        Grammars::new(words).map(Keeper).map_err(|e| e.to_string())
    }

    fn work(&self, stream: &UnixStream) {
        let before = limits::held();
        let mut position: Option<Position> = None;
        while let Ok(Some(message)) = frame::read(stream) {
            // Until the message is parsed, which states the budget of the first task.
            limits::task(Some(if position.is_some() { STEP } else { PREPARATION }));
            let next = match &mut position {
                None => self.begin(&message, &mut position),
                Some(position) => follow(&message, position),
            };
            limits::task(None);
            let said = match next {
                Ok(Some(words)) => Said::Next { held: limits::held() - before, words },
                Ok(None) => Said::Over,
                Err(Error::Constraint { why }) => Said::Refused(why),
                Err(other) => Said::Refused(other.to_string()),
            };
            if frame::write(stream, &said.written()).is_err() {
                return;
            }
        }
    }
}

impl Keeper {
    fn begin(&self, message: &[u8], position: &mut Option<Position>) -> Result<Option<Vec<u32>>> {
        let unreadable = |e: serde_json::Error| Error::Constraint { why: e.to_string() };
        let (budget, shape): (Duration, Shape) = serde_json::from_slice(message).map_err(unreadable)?;
        limits::task(Some(budget));
        let (begun, mask) = self.0.start(&shape)?;
        *position = Some(begun);
        Ok(Some(mask))
    }
}

fn follow(message: &[u8], position: &mut Position) -> Result<Option<Vec<u32>>> {
    let token = message.try_into().map(u32::from_le_bytes);
    position.push(token.map_err(|_| Error::Internal("a token has four bytes".into()))?)
}

impl Said {
    /// Encodes the message.
    fn written(&self) -> Vec<u8> {
        match self {
            Said::Next { held, words } => {
                let words = words.iter().flat_map(|word| word.to_le_bytes());
                [b'N'].into_iter().chain(held.to_le_bytes()).chain(words).collect()
            }
            Said::Over => vec![b'O'],
            Said::Refused(why) => [b"R", why.as_bytes()].concat(),
        }
    }

    /// Decodes a message; `None` if its bytes are not one.
    pub fn read(message: &[u8]) -> Option<Said> {
        let (kind, rest) = message.split_first()?;
        match kind {
            b'N' => {
                let (held, words) = rest.split_first_chunk::<8>()?;
                let words =
                    words.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
                Some(Said::Next { held: i64::from_le_bytes(*held), words })
            }
            b'O' => Some(Said::Over),
            b'R' => Some(Said::Refused(String::from_utf8_lossy(rest).into_owned())),
            _ => None,
        }
    }
}
