//! A vocabulary as tokens with scores. In: a file, what its header holds, how many tokens the model has. Out: the
//! tokens. Invariant: the file ends with its last token; no length in it is believed beyond its end.

use std::path::Path;

use super::fields::u32_at;
use crate::error::{Error, Result};
use crate::files;

/// A token.
pub(super) struct Token {
    pub score: f32,
    pub bytes: Vec<u8>,
}

/// All tokens after `header` bytes; at most `vocab`.
pub(super) fn read(path: &Path, header: usize, vocab: u32) -> Result<Vec<Token>> {
    let file = files::map(path)?;
    let wrong = |field: String, expected: String, found: String| Error::Field {
        file: path.display().to_string(),
        field,
        expected,
        found,
    };
    let mut rest = file.get(header..).ok_or_else(|| {
        wrong(
            "the whole file".to_string(),
            format!("a header of {header} bytes"),
            format!("{} bytes", file.len()),
        )
    })?;
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let about = format!("token {}", tokens.len());
        if tokens.len() == vocab as usize {
            let expected = format!("{vocab} tokens, as the model has");
            return Err(wrong("the vocabulary".to_string(), expected, "more".to_string()));
        }
        let (score, length) = match (u32_at(rest, 0), u32_at(rest, 4)) {
            (Some(score), Some(length)) => (f32::from_bits(score), length as usize),
            _ => {
                return Err(wrong(
                    about,
                    "a score and a length".to_string(),
                    "the end of the file".to_string(),
                ))
            }
        };
        let end = length.checked_add(8).filter(|&end| end <= rest.len());
        let Some(end) = end else {
            let expected = format!("at most {} bytes", rest.len() - 8);
            return Err(wrong(about, expected, length.to_string()));
        };
        if score.is_nan() {
            return Err(wrong(about, "a score".to_string(), "NaN".to_string()));
        }
        tokens.push(Token { score, bytes: rest[8..end].to_vec() });
        rest = &rest[end..];
    }
    Ok(tokens)
}
