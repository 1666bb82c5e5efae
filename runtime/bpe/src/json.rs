//! A tokenizer.json to a block and the rest of it.
//!
//! In: JSON. Out: bytes for [`Prepared::open`](crate::Prepared::open). Invariant: what is read means here what it means
//! to the tokenizers library; whatever is not plain (another kind of model, unknown tokens, prefixes, gaps between
//! ids, a key that is not known here) is refused, and then the library must read the file.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::write::Vocabulary;

/// The block, and behind it the tokenizer.json without its model. `None` where the model is not a plain one.
pub fn prepare(tokenizer_json: &[u8]) -> Option<Vec<u8>> {
    let Whole { model, rest } = serde_json::from_slice(tokenizer_json).ok()?;
    let mut bytes = model.plain()?.block()?;
    serde_json::to_writer(&mut bytes, &rest).ok()?;
    Some(bytes)
}

#[derive(Deserialize)]
struct Whole {
    model: Model,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    dropout: Option<IgnoredAny>,
    unk_token: Option<IgnoredAny>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    // Only unknown tokens are fused, and there are none.
    #[serde(rename = "fuse_unk")]
    _fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// Both spellings of a merge.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl Model {
    fn plain(self) -> Option<Vocabulary> {
        let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        let plain = self.kind == "BPE"
            && self.dropout.is_none()
            && self.unk_token.is_none()
            && empty(&self.continuing_subword_prefix)
            && empty(&self.end_of_word_suffix)
            && self.byte_fallback != Some(true);
        if !plain || self.vocab.is_empty() {
            return None;
        }
        let mut tokens = vec![None; self.vocab.len()];
        for (text, id) in self.vocab {
            *tokens.get_mut(id as usize)? = Some(text);
        }
        let merges = self.merges.into_iter().map(Merge::sides);
        Some(Vocabulary {
            // As many texts as ids: one that is there twice leaves another out.
            tokens: tokens.into_iter().collect::<Option<_>>()?,
            merges: merges.collect::<Option<_>>()?,
            whole_words: self.ignore_merges.unwrap_or(false),
        })
    }
}

impl Merge {
    fn sides(self) -> Option<(String, String)> {
        match self {
            Merge::Pair(left, right) => Some((left, right)),
            // A line that begins so is not a merge to the library.
            Merge::Line(line) if line.starts_with("#version") => None,
            Merge::Line(line) => {
                let (left, right) = line.split_once(' ').filter(|(_, right)| !right.contains(' '))?;
                Some((left.to_owned(), right.to_owned()))
            }
        }
    }
}
