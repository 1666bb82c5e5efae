//! QWEN version 1: Qwen3 in int8 whose header leaves out half of what a reader needs.
//!
//! In: a file, a person's hints. Out: a Qwen3. Invariant: what the header does not say is found by the exact size
//! of the file, and only if one answer fits; integers and scales stay as they are.

use super::fields::{u32_at, Sizes};
use super::sequence::{Matrices, Sequence};
use super::solve::{self, Answer};
use super::{ajc1, beside, Foreign, Import};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::families::qwen3::{K_NORM, Q_NORM};
use crate::tensor_names::{DOWN, GATE, K, O, Q, UP, V};
use crate::tensor_names::{EMBEDDING, FINAL_NORM};
use crate::weights::Order;

const HEADER_BYTES: u64 = 256;

/// All tensors of a file with these unstated numbers.
fn tensors(config: &Config, group: u32, body: u64) -> Sequence<'_> {
    let d = config.dims;
    let mut file = Sequence::new(config, Matrices::Int8 { group }, Order::Usual, body);
    file.layer_norms();
    file.vectors(Q_NORM, d.head_dim);
    file.vectors(K_NORM, d.head_dim);
    file.vector(FINAL_NORM, d.hidden);
    for layer in 0..d.layers {
        [Q, K, V, O, GATE, DOWN, UP].iter().for_each(|name| file.matrix(name, layer));
    }
    file.matrix(EMBEDDING, 0);
    file.own_head();
    file
}

pub(super) fn read(source: &Foreign) -> Result<Import> {
    let found = source.map.len() as u64;
    let cut = || Error::FileSize { path: source.path.to_path_buf(), expected: HEADER_BYTES, found };
    let header = source.map.get(..HEADER_BYTES as usize).ok_or_else(cut)?;
    let word = |at: usize| u32_at(header, at).unwrap_or(0);
    let theta = f32::from_bits(word(36));
    if !(theta.is_finite() && theta > 1.0) {
        return Err(source.wrong("rope_theta at offset 36", "a number above 1", theta));
    }
    let stated = Sizes {
        vocab: word(8),
        dim: word(12),
        hidden: word(16),
        layers: word(20),
        heads: word(24),
        kv_heads: word(28),
        context: word(32),
        // Any that a config allows: the sizes above are checked with it before they are used.
        head_dim: 2,
        tied: true,
    };
    let side = beside::read(source, stated.vocab)?;
    let config = |a: &Answer| {
        let sizes = Sizes { head_dim: a.head_dim, tied: a.tied, ..stated };
        ajc1::qwen3(sizes, f64::from(theta), side.stops.clone())
    };
    source.config(&config(&Answer { body: HEADER_BYTES, head_dim: 2, group: 64, tied: true }))?;
    let answer = solve::unstated(source, stated)?;
    let fields = config(&answer);
    let config = source.config(&fields)?;
    let weights = tensors(&config, answer.group, answer.body).finish(source.path, source.map.len())?;
    let (tokenizer, chat_template, files, origin) =
        (side.tokenizer, side.chat_template, side.files, Some(side.origin));
    Ok(Import { config: fields, tokenizer, chat_template, files, origin, weights, ..Import::default() })
}
