//! Input and output of one step of the model, wherever it runs.
//!
//! In: rows (token, position, cache). Out: logits, picked tokens or embeddings. Invariant: data alone; what runs a step is in
//! `engine`, `cpu` and `cuda`.

use qwenc_abi::{KvType, Row};

use crate::error::{Error, Result};

/// Positions of the fed tokens whose results are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No position; the head is not run.
    Nothing,
    /// The last one.
    Last,
    /// Every one.
    All,
    /// The last one, and of it not logits but an embedding.
    Embedding,
}

/// Form of the results of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// Their logits.
    Logits,
    /// Only the likeliest allowed token of each.
    Picks,
}

/// Result of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output<'a> {
    /// `[vocab_rows]`.
    Logits(&'a [f32]),
    /// The likeliest allowed token, the lowest id among equals.
    Pick(u32),
    /// Last hidden state of the text up to there, `[hidden]`, normalised to length 1.
    Embedding(&'a [f32]),
}

/// Place of a result of the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputPlace {
    /// The output with this index.
    Output(usize),
    /// The last hidden state of the row with this index.
    State(usize),
}

impl<'a> Output<'a> {
    /// Logits, where nothing else was asked for.
    pub fn logits(self) -> Result<&'a [f32]> {
        match self {
            Output::Logits(logits) => Ok(logits),
            Output::Pick(_) | Output::Embedding(_) => {
                Err(Error::Internal("something else where logits were asked for".into()))
            }
        }
    }
}

/// Input of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// Tokens, positions and caches; not empty.
    pub(crate) rows: &'a [Row],
    /// Ascending indices into `rows` whose results are wanted.
    pub(crate) outputs: &'a [u32],
    /// Positions that each cache holds.
    pub(crate) kv_capacity: usize,
    /// Element type of each cache.
    pub(crate) kv: KvType,
    /// Form in which outputs will be read.
    pub(crate) results: Results,
}
