//! Hints: facts that some files lack, stated by a person. In: words such as `head_dim=128`. Out: [`Hints`].
//! Invariant: a word that is not understood is an error, never passed over.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// Facts that a person states about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The file with the vocabulary, where it does not stand beside the model under its usual name.
    pub tokenizer: Option<PathBuf>,
    /// Width of an attention head (QWEN version 1).
    pub head_dim: Option<u32>,
    /// Inputs that share a scale (QWEN version 1).
    pub group_size: Option<u32>,
    /// Whether the LM head is the embedding (QWEN version 1).
    pub tied: Option<bool>,
    /// Offset of the weights in bytes: 256 or 260 (QWEN version 1).
    pub body: Option<u64>,
}

impl Hints {
    /// Hints from words `KEY=VALUE`, the keys being the fields; of two for one key the later counts.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Hints> {
        let mut hints = Hints::default();
        for word in words {
            let wrong = || Error::Hint { found: word.to_string() };
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            match key {
                "tokenizer" if !value.is_empty() => hints.tokenizer = Some(PathBuf::from(value)),
                "head_dim" => hints.head_dim = Some(value.parse().map_err(|_| wrong())?),
                "group_size" => hints.group_size = Some(value.parse().map_err(|_| wrong())?),
                "tied" => hints.tied = Some(value.parse().map_err(|_| wrong())?),
                "body" => hints.body = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        Ok(hints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_understood_and_no_other() {
        let words =
            ["tokenizer=a=b.bin", "head_dim=128", "group_size=64", "tied=false", "body=260", "body=256"];
        let hints = Hints {
            tokenizer: Some("a=b.bin".into()),
            head_dim: Some(128),
            group_size: Some(64),
            tied: Some(false),
            body: Some(256),
        };
        assert_eq!(Hints::of_words(words).ok(), Some(hints));
        for word in ["head_dim", "head_dim=", "head_dim=-1", "tied=yes", "heads=4", "tokenizer=", "=", ""] {
            let message = Hints::of_words([word]).map_err(|e| e.to_string());
            let expected = "tokenizer=FILE, head_dim=N, group_size=N, tied=true or false, body=256 or 260";
            assert!(
                message.is_err_and(|m| m.contains(expected) && m.contains(&format!("{word:?}"))),
                "{word}"
            );
        }
    }
}
