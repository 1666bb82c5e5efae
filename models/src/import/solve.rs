//! Solver for facts that the header of a QWEN version 1 file leaves out, by the size of the file.
//!
//! In: the stated sizes, within limits, and hints. Out: the one answer that fits. Invariant: none or several are
//! refused, with those that fit and the flags that decide; groups that would cross rows never fit.

use super::fields::Sizes;
use super::Foreign;
use crate::error::{Error, Result};

/// One way to read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Offset of the weights.
    pub body: u64,
    pub head_dim: u32,
    pub group: u32,
    pub tied: bool,
}

const BODIES: [u64; 2] = [256, 260];
const GROUPS: std::ops::RangeInclusive<u64> = 4..=256;
const MAX_HEAD_DIM: u32 = 1024;

/// The group size with which a file of `found` bytes has this body, head_dim and tying, if there is one. The sizes are
/// within a config's limits, so that nothing overflows.
fn group(s: Sizes, (body, head_dim, tied): (u64, u32, bool), found: u64) -> Option<u32> {
    let [dim, hidden, layers, heads, kv, vocab, head] =
        [s.dim, s.hidden, s.layers, s.heads, s.kv_heads, s.vocab, head_dim].map(u64::from);
    let norms = 4 * (2 * layers * dim + 2 * layers * head + dim);
    let layer = 2 * heads * head * dim + 2 * kv * head * dim + 3 * dim * hidden;
    let matrices = layers * layer + (2 - u64::from(tied)) * vocab * dim;
    let scales = found.checked_sub(body + norms + matrices).filter(|&bytes| bytes > 0)?;
    let group = (4 * matrices).is_multiple_of(scales).then(|| 4 * matrices / scales)?;
    let rows_are_whole = [dim, hidden, heads * head].iter().all(|n| n.is_multiple_of(group));
    (GROUPS.contains(&group) && rows_are_whole).then_some(group as u32)
}

/// Answers that fit the file's size and the hints.
pub(super) fn unstated(source: &Foreign, sizes: Sizes) -> Result<Answer> {
    let (found, hints) = (source.map.len() as u64, &source.hints);
    let mut fits = Vec::new();
    for body in BODIES.into_iter().filter(|&b| hints.body.is_none_or(|h| h == b)) {
        for tied in [true, false].into_iter().filter(|&t| hints.tied.is_none_or(|h| h == t)) {
            let all = (2..=MAX_HEAD_DIM).step_by(2).filter(|&n| hints.head_dim.is_none_or(|h| h == n));
            fits.extend(all.filter_map(|head_dim| {
                let group = group(sizes, (body, head_dim, tied), found)?;
                Some(Answer { body, head_dim, group, tied })
            }));
        }
    }
    fits.retain(|a| hints.group_size.is_none_or(|h| h == a.group));
    // Exporters have written powers of 2.
    if fits.iter().any(|a| a.group.is_power_of_two()) && hints.group_size.is_none() {
        fits.retain(|a| a.group.is_power_of_two());
    }
    fits.sort_by_key(|a| (a.body, a.group, !a.tied, a.head_dim));
    match fits[..] {
        [one] => Ok(one),
        _ => Err(Error::Unstated {
            path: source.path.to_path_buf(),
            bytes: found,
            fits: match fits.is_empty() {
                true => "none".to_string(),
                false => fits.iter().take(8).map(shown).collect::<Vec<_>>().join("; "),
            },
        }),
    }
}

fn shown(a: &Answer) -> String {
    format!("head_dim {}, group size {}, tied {}, body at {}", a.head_dim, a.group, a.tied, a.body)
}
