//! The files beside a model in ajc1 or QWEN version 1: its vocabulary and its templates.
//!
//! In: a model's path. Out: tokenizer.json, chat template, stop tokens, and the files themselves. Invariant: a file
//! that is there is read or refused by name, never passed over; what goes back into such files is kept to the byte.

use std::path::{Path, PathBuf};

use super::fields::u32_at;
use super::percent_template::{self, Slots};
use super::score_file::{self, Token};
use super::{byte_level, Foreign};
use crate::error::{Error, Result};
use crate::files;
use crate::origin::{Origin, TEMPLATES, TOKENIZER};

/// Content of the side files of a model.
#[derive(Default)]
pub(super) struct Side {
    pub tokenizer: Option<String>,
    pub chat_template: Option<String>,
    pub stops: Vec<u32>,
    pub files: Vec<PathBuf>,
    /// The files themselves.
    pub origin: Origin,
}

/// Bytes before the tokens of PATH.tokenizer: longest token, bos, eos.
pub(crate) const SIDE_HEADER: usize = 12;

/// Side files of a model of `vocab` rows.
pub(super) fn read(source: &Foreign, vocab: u32) -> Result<Side> {
    let mut side = Side::default();
    if let Some(path) = source.beside(&[with_suffix(source.path, TOKENIZER)]) {
        match path.extension().is_some_and(|e| e == "json") {
            true => side.tokenizer = Some(files::text(&path)?),
            false => side.vocabulary(&path, vocab)?,
        }
        side.files.push(path);
    }
    let mut templates: [Option<String>; 4] = Default::default();
    for (text, suffix) in templates.iter_mut().zip(TEMPLATES) {
        let path = with_suffix(source.path, suffix);
        let Some(found) = files::text_or_none(&path)? else { continue };
        side.origin.keep(suffix, found.as_bytes());
        side.files.push(path);
        *text = Some(found);
    }
    let slots = |i: usize| -> Result<Option<Slots>> {
        let file = with_suffix(source.path, TEMPLATES[i]).display().to_string();
        templates[i].as_deref().map(|text| Slots::of(&file, text, 1 + i / 2)).transpose()
    };
    side.chat_template = percent_template::jinja([slots(0)?, slots(1)?, slots(2)?, slots(3)?]);
    Ok(side)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

impl Side {
    fn vocabulary(&mut self, path: &Path, vocab: u32) -> Result<()> {
        let tokens = score_file::read(path, SIDE_HEADER, vocab)?;
        let file = files::map(path)?;
        let ends = |t: &Token| [&b"<|im_end|>"[..], b"<|endoftext|>"].contains(&&t.bytes[..]);
        self.stops = (0u32..).zip(&tokens).filter(|(_, t)| ends(t)).map(|(id, _)| id).collect();
        self.stops.extend(u32_at(&file, 8).filter(|&eos| (eos as usize) < tokens.len()));
        let vocabulary = byte_level::scored(&tokens).ok_or_else(|| Error::Field {
            file: path.display().to_string(),
            field: "the vocabulary".to_string(),
            expected: "a token for each of 256 bytes".to_string(),
            found: format!("{} tokens without some", tokens.len()),
        })?;
        self.tokenizer = Some(vocabulary.tokenizer_json().to_string());
        self.origin.keep(TOKENIZER, &file);
        Ok(())
    }
}
