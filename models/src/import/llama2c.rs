//! llama2.c: files without a version, and versions 1 (f32) and 2 (int8).
//!
//! In: a file, tokenizer.bin beside it. Out: a Llama. Invariant: q and k are stored for RoPE on neighbours and come
//! out for RoPE on halves; a file without a version is known by its exact size alone.

use std::path::Path;

use serde_json::{Map, Value};

use super::byte_level::Around;
use super::fields::{self, u32_at, Implied, Sizes};
use super::sequence::{crossed, Matrices, Sequence};
use super::{score_file, sentencepiece, Foreign, Import};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::files;
use crate::group_rule::MAX_GROUP;
use crate::tensor_names::{ATTN_NORM, DOWN, FFN_NORM, GATE, K, O, Q, UP, V};
use crate::tensor_names::{EMBEDDING, FINAL_NORM};
use crate::weights::{Order, Weights};

pub(super) const MAGIC: u32 = 0x616b_3432;
const HEADER_BYTES: u64 = 256;
const UNVERSIONED_HEADER: u64 = 28;
const EOS: u32 = 2;

/// Seven integers from `at` on; a negative vocabulary says that the LM head is a matrix of its own.
fn sizes(file: &[u8], at: usize) -> Option<Sizes> {
    let word = |i: usize| u32_at(file, at + 4 * i);
    let (dim, heads, vocab) = (word(0)?, word(3)?, word(5)? as i32);
    Some(Sizes {
        dim,
        hidden: word(1)?,
        layers: word(2)?,
        heads,
        kv_heads: word(4)?,
        vocab: vocab.unsigned_abs(),
        context: word(6)?,
        head_dim: dim.checked_div(heads).unwrap_or(0),
        tied: vocab > 0,
    })
}

fn config_of(sizes: Sizes) -> Map<String, Value> {
    let (architecture, model_type) = ("LlamaForCausalLM", "llama");
    let implied = Implied { architecture, model_type, theta: 1e4, eps: 1e-5, stop_tokens: vec![EOS] };
    fields::config(sizes, implied)
}

/// All tensors of a file without a version.
fn unversioned(config: &Config) -> Sequence<'_> {
    let (d, rotated) = (config.dims, Order::Pairs { head_dim: config.dims.head_dim as usize });
    let mut file = Sequence::new(config, Matrices::F32, rotated, UNVERSIONED_HEADER);
    file.matrix(EMBEDDING, 0);
    file.vectors(ATTN_NORM, d.hidden);
    [Q, K, V, O].iter().for_each(|name| file.matrices(name));
    file.vectors(FFN_NORM, d.hidden);
    [GATE, DOWN, UP].iter().for_each(|name| file.matrices(name));
    file.vector(FINAL_NORM, d.hidden);
    // Cosines and sines, four bytes for each of context · head_dim / 2.
    file.skip(4 * u64::from(d.context) * u64::from(d.head_dim));
    file.own_head();
    file
}

/// Whether the file is one without a version: nothing but its size can tell.
pub(super) fn is_unversioned(file: &[u8]) -> bool {
    let Some(sizes) = sizes(file, 0) else { return false };
    let Ok(config) = Config::parse("", &Value::Object(config_of(sizes)).to_string()) else { return false };
    let whole_heads = u64::from(config.dims.q_width()) == u64::from(config.dims.hidden);
    whole_heads && unversioned(&config).end() == file.len() as u64
}

pub(super) fn read_unversioned(source: &Foreign) -> Result<Import> {
    let sizes = sizes(&source.map, 0).ok_or_else(|| cut(source))?;
    let fields = config_of(sizes);
    let config = source.config(&fields)?;
    let weights = unversioned(&config).finish(source.path, source.map.len())?;
    import(source, (fields, sizes.vocab), weights)
}

fn cut(source: &Foreign) -> Error {
    let (path, found) = (source.path.to_path_buf(), source.map.len() as u64);
    Error::FileSize { path, expected: HEADER_BYTES, found }
}

/// Versions 1 and 2.
pub(super) fn read_versioned(source: &Foreign) -> Result<Import> {
    let version = u32_at(&source.map, 4).unwrap_or(0);
    if !(1..=2).contains(&version) {
        return Err(source.unsupported(format!("llama2.c version {version}"), "0 to 2"));
    }
    let header = source.map.get(..HEADER_BYTES as usize).ok_or_else(|| cut(source))?;
    let mut sizes = sizes(header, 8).ok_or_else(|| cut(source))?;
    sizes.tied = match header[36] {
        0 => false,
        1 => true,
        other => return Err(source.wrong("shared_classifier at offset 36", "0 or 1", other)),
    };
    let fields = config_of(sizes);
    let config = source.config(&fields)?;
    if config.dims.q_width() != config.dims.hidden {
        return Err(source.wrong("n_heads", format!("a divisor of dim, {}", sizes.dim), sizes.heads));
    }
    let matrices = match (version, u32_at(header, 37)) {
        (2, Some(group)) if (1..=MAX_GROUP).contains(&group) => match crossed(&config, group) {
            None => Matrices::Int8 { group },
            Some(what) => return Err(source.unsupported(what, "groups that end with rows")),
        },
        (2, group) => {
            return Err(source.wrong("group_size", format!("1 to {MAX_GROUP}"), group.unwrap_or(0)));
        }
        _ => Matrices::F32,
    };
    let rotated = Order::Pairs { head_dim: config.dims.head_dim as usize };
    let mut file = Sequence::new(&config, matrices, rotated, HEADER_BYTES);
    file.layer_norms();
    file.vector(FINAL_NORM, config.dims.hidden);
    file.by_kind();
    let weights = file.finish(source.path, source.map.len())?;
    import(source, (fields, sizes.vocab), weights)
}

fn import(source: &Foreign, (config, vocab): (Map<String, Value>, u32), weights: Weights) -> Result<Import> {
    let tokenizer_file = source.beside(&[source.path.with_file_name("tokenizer.bin")]);
    let tokenizer = tokenizer_file.as_ref().map(|path| tokenizer(path, vocab)).transpose()?;
    let files = tokenizer_file.into_iter().collect();
    Ok(Import { config, tokenizer, files, weights, ..Import::default() })
}

/// A tokenizer.bin, as a tokenizer.json; one that is JSON already is taken as it is.
fn tokenizer(path: &Path, vocab: u32) -> Result<String> {
    if path.extension().is_some_and(|e| e == "json") {
        return files::text(path);
    }
    let tokens = score_file::read(path, 4, vocab)?;
    let pieces = tokens.iter().enumerate().map(|(id, token)| {
        let text = String::from_utf8_lossy(&token.bytes);
        let byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        // This format has spaces where the vocabulary was trained with U+2581, and frames for control tokens.
        let (text, kind) = match id {
            0 => (text.into_owned(), sentencepiece::Kind::Unknown),
            1 | 2 => (text.trim().to_string(), sentencepiece::Kind::Control),
            _ if byte => (text.into_owned(), sentencepiece::Kind::Byte),
            _ => (text.replace(' ', "\u{2581}"), sentencepiece::Kind::Normal),
        };
        sentencepiece::Piece { text, score: token.score, kind }
    });
    let around = Around { bos: Some(1), eos: None };
    let vocabulary = sentencepiece::Vocabulary { pieces: pieces.collect(), around, prefix: true };
    Ok(vocabulary.tokenizer_json().to_string())
}
