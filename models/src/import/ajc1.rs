//! ajc1: Qwen3 in int8, with either of two headers.
//!
//! In: a file. Out: a Qwen3. Invariant: groups that would cross rows are refused; integers and scales stay as they
//! are. RoPE's base and the norms' epsilon are not stored: the format implies them.

use super::fields::{self, u32_at, Implied, Sizes};
use super::sequence::{crossed, Matrices, Sequence};
use super::{beside, Foreign, Import};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::families::qwen3::{K_NORM, Q_NORM};
use crate::group_rule::MAX_GROUP;
use crate::origin::Origin;
use crate::tensor_names::FINAL_NORM;
use crate::weights::Order;

pub(super) const MAGIC: u32 = 0x616a_6331;
pub(crate) const HEADER_BYTES: usize = 256;
const QWEN3: u32 = 1;
const LLAMA: u32 = 2;
/// RoPE's base, which the format implies.
pub(crate) const THETA: f64 = 1e6;
/// The norms' epsilon, too.
pub(crate) const EPS: f64 = 1e-6;

/// The config of a Qwen3 whose header says no more than sizes.
pub(super) fn qwen3(
    sizes: Sizes,
    theta: f64,
    stop_tokens: Vec<u32>,
) -> serde_json::Map<String, serde_json::Value> {
    let (architecture, model_type) = ("Qwen3ForCausalLM", "qwen3");
    fields::config(sizes, Implied { architecture, model_type, theta, eps: EPS, stop_tokens })
}

pub(super) fn read(source: &Foreign) -> Result<Import> {
    let found = source.map.len() as u64;
    let cut = || Error::FileSize { path: source.path.to_path_buf(), expected: HEADER_BYTES as u64, found };
    let header = source.map.get(..HEADER_BYTES).ok_or_else(cut)?;
    let word = |at: usize| u32_at(header, at).unwrap_or(0);
    if word(4) != 1 {
        return Err(source.unsupported(format!("ajc1 version {}", word(4)), "1"));
    }
    // The longer header has the architecture before the sizes, and so one more number at its end.
    let at = match (word(8), word(48)) {
        (QWEN3, 1..) => 12,
        (LLAMA, 1..) => {
            let what = "ajc1 with architecture 2 (Llama), whose RoPE the format does not state";
            return Err(source.unsupported(what, "architecture 1 (Qwen3)"));
        }
        _ => 8,
    };
    let size = |i: usize| word(at + 4 * i);
    let tied = match size(8) {
        0 => false,
        1 => true,
        other => return Err(source.wrong("shared_classifier", "0 or 1", other)),
    };
    let sizes = Sizes {
        dim: size(0),
        hidden: size(1),
        layers: size(2),
        heads: size(3),
        kv_heads: size(4),
        vocab: size(5),
        context: size(6),
        head_dim: size(7),
        tied,
    };
    let group = size(9);
    if !(1..=MAX_GROUP).contains(&group) {
        return Err(source.wrong("group_size", format!("1 to {MAX_GROUP}"), group));
    }
    let side = beside::read(source, sizes.vocab)?;
    let fields = qwen3(sizes, THETA, side.stops);
    let config = source.config(&fields)?;
    if let Some(what) = crossed(&config, group) {
        return Err(source.unsupported(what, "groups that end with rows"));
    }
    let weights = tensors(&config, group).finish(source.path, source.map.len())?;
    let (tokenizer, chat_template, files) = (side.tokenizer, side.chat_template, side.files);
    let origin = Some(Origin { header: Some(header.to_vec()), ..side.origin });
    Ok(Import { config: fields, tokenizer, chat_template, files, origin, weights, ..Import::default() })
}

/// All tensors of a file, in its order.
pub(crate) fn tensors(config: &Config, group: u32) -> Sequence<'_> {
    let d = config.dims;
    let mut file = Sequence::new(config, Matrices::Int8 { group }, Order::Usual, HEADER_BYTES as u64);
    file.layer_norms();
    file.vector(FINAL_NORM, d.hidden);
    file.vectors(Q_NORM, d.head_dim);
    file.vectors(K_NORM, d.head_dim);
    file.by_kind();
    file
}

/// The shorter header of a model.
pub(crate) fn header(config: &Config, group: u32) -> Vec<u8> {
    let d = config.dims;
    let sizes =
        [d.hidden, d.intermediate, d.layers, d.heads, d.kv_heads, d.vocab_rows, d.context, d.head_dim];
    let words = [MAGIC, 1].into_iter().chain(sizes).chain([u32::from(config.tied), group]);
    let mut out: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    out.resize(HEADER_BYTES, 0);
    out
}

/// Whether a header is one of a model: the shorter one, or the longer one with its architecture.
pub(crate) fn is_header(stored: &[u8], config: &Config, group: u32) -> bool {
    let short = &header(config, group)[8..48];
    let long = u32_at(stored, 8) == Some(QWEN3) && u32_at(stored, 48).is_some_and(|gs| gs != 0);
    let at = if long { 12 } else { 8 };
    let right = u32_at(stored, 0) == Some(MAGIC) && u32_at(stored, 4) == Some(1);
    right && stored.len() == HEADER_BYTES && stored.get(at..at + short.len()) == Some(short)
}
