//! Model files of other programs, each opened as a checkpoint.
//!
//! In: a path. Out: a [`Checkpoint`] whose config.json and tokenizer.json are made from what the file says.
//! Invariant: a format is known by its first bytes or, where it has none of its own, by its exact size; every
//! number of a file is checked before anything is sized or found by it. Weights are moved, never rounded here.

use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::files;
use crate::header::MAGIC;
use crate::inspection::HeaderField;
use crate::origin::Origin;
use crate::stranger::stranger;
use crate::tensor_check::Look;
use crate::tensor_stats::TensorSummary;
use crate::texts::Texts;
use crate::weights::Weights;

pub(crate) mod ajc1;
pub(crate) mod beside;
mod byte_level;
mod fields;
mod gguf;
mod hints;
mod llama2c;
mod percent_template;
mod qwen_v1;
pub(crate) mod score_file;
pub(crate) mod score_writer;
mod sentencepiece;
pub(crate) mod sequence;
mod solve;
mod splits;

pub use hints::Hints;

/// A file being read.
struct Foreign<'a> {
    path: &'a Path,
    /// The path, for messages.
    place: String,
    map: Mmap,
    hints: Hints,
}

/// Result of a reader.
#[derive(Default)]
struct Import {
    /// Name of the model.
    name: Option<String>,
    /// Fields of a config.json.
    config: Map<String, Value>,
    tokenizer: Option<String>,
    /// Files beside it that were read: the vocabulary's, and templates.
    files: Vec<PathBuf>,
    /// Jinja source.
    chat_template: Option<String>,
    /// Origin that only the old format states.
    origin: Option<Origin>,
    /// Fields of a generation_config.json.
    generation: Option<Value>,
    /// Warnings for the user.
    warnings: Vec<String>,
    /// Fields of a tokenizer_config.json: template and the tokens it names.
    tokenizer_config: Option<Value>,
    weights: Weights,
}

/// A reader.
type Read = fn(&Foreign) -> Result<Import>;

/// The format of a file, and what reads it; none for a model.bin and for strangers.
fn format(file: &[u8]) -> Option<(&'static str, Read)> {
    match (fields::u32_at(file, 0), fields::u32_at(file, 4)) {
        (Some(gguf::MAGIC), _) => Some(("GGUF", gguf::read)),
        (Some(ajc1::MAGIC), _) => Some(("ajc1", ajc1::read)),
        (Some(llama2c::MAGIC), _) => Some(("llama2.c", llama2c::read_versioned)),
        (Some(MAGIC), Some(1)) => Some(("QWEN version 1", qwen_v1::read)),
        _ if llama2c::is_unversioned(file) => Some(("llama2.c without a version", llama2c::read_unversioned)),
        _ => None,
    }
}

/// The name of a file's format, if it is read here.
pub(crate) fn format_name(file: &[u8]) -> Option<&'static str> {
    format(file).map(|(name, _)| name)
}

/// Header facts and stored tensor types of a file, where its format states them apart from the model.
pub(crate) fn overview(path: &Path) -> Result<Option<(Vec<HeaderField>, Vec<TensorSummary>)>> {
    let source = Foreign::open(path, Hints::default())?;
    let gguf = fields::u32_at(&source.map, 0) == Some(gguf::MAGIC);
    Ok(gguf.then(|| gguf::overview(&source)))
}

/// Opens a file of any format but model.bin.
pub(crate) fn open(path: &Path, hints: Hints, look: Look) -> Result<Checkpoint> {
    let source = Foreign::open(path, hints)?;
    match format(&source.map) {
        Some((_, read)) => {
            let import = read(&source)?;
            assemble(source, import, look)
        }
        None if fields::u32_at(&source.map, 0) == Some(MAGIC) => {
            Err(Error::AlreadyExported { path: path.to_path_buf() })
        }
        None => Err(stranger(path, &source.map)),
    }
}

fn assemble(source: Foreign, import: Import, look: Look) -> Result<Checkpoint> {
    let text = Value::Object(import.config).to_string();
    let config = Config::parse(&source.place, &text)?;
    let mut weights = import.weights;
    let name = source.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    weights.files = vec![(name, files::Bytes::Mapped(source.map))];
    for path in import.files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        weights.files.push((name, files::Bytes::Mapped(files::map(&path)?)));
    }
    let texts = Texts {
        name: import.name,
        config: text,
        tokenizer: import.tokenizer,
        tokenizer_config: import.tokenizer_config.map(|v| v.to_string()),
        chat_template: import.chat_template,
        generation: import.generation.map(|v| v.to_string()),
        warnings: import.warnings,
        origin: import.origin.map(|o| o.to_string()),
        ..Texts::default()
    };
    Checkpoint::assemble((source.place, config), texts, (weights, Vec::new()), look)
}

impl Foreign<'_> {
    fn open(path: &Path, hints: Hints) -> Result<Foreign<'_>> {
        Ok(Foreign { path, place: path.display().to_string(), map: files::map(path)?, hints })
    }

    /// Config of the model, once every size is known to be possible.
    fn config(&self, fields: &Map<String, Value>) -> Result<Config> {
        Config::parse(&self.place, &Value::Object(fields.clone()).to_string())
    }

    /// A header field that cannot be.
    fn wrong(&self, field: &str, expected: impl Into<String>, found: impl ToString) -> Error {
        Error::Field {
            file: self.place.clone(),
            field: field.to_string(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> Error {
        Error::Unsupported { file: self.place.clone(), what: what.into(), supported: supported.into() }
    }

    /// The vocabulary's file: the one that was named, else the first of these that is there.
    fn beside(&self, candidates: &[PathBuf]) -> Option<PathBuf> {
        let named = self.hints.tokenizer.clone();
        named.or_else(|| candidates.iter().find(|p| p.is_file()).cloned())
    }
}
