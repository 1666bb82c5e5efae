//! What the header of a QWEN version 1 file leaves out, found by the size of the file.
//!
//! In: the stated sizes, within limits, and hints. Out: the one answer that fits. Invariant: none or several are
//! refused, with those that fit and the flags that decide; groups that would cross rows never fit.

use super::fields::Sizes;
use super::Foreign;
use crate::error::{Error, Result};

/// One way to read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Where the weights begin.
    pub body: u64,
    pub head_dim: u32,
    pub group: u32,
    pub tied: bool,
}

const BODIES: [u64; 2] = [256, 260];
const GROUPS: [u32; 7] = [4, 8, 16, 32, 64, 128, 256];
const MAX_HEAD_DIM: u32 = 1024;

/// Bytes of a file with this answer; the sizes are within a config's limits, so that nothing overflows.
fn bytes(s: Sizes, a: &Answer) -> u64 {
    let [dim, hidden, layers, heads, kv, vocab, head, group] =
        [s.dim, s.hidden, s.layers, s.heads, s.kv_heads, s.vocab, a.head_dim, a.group].map(u64::from);
    let norms = 4 * (2 * layers * dim + 2 * layers * head + dim);
    let layer = 2 * heads * head * dim + 2 * kv * head * dim + 3 * dim * hidden;
    let matrices = layers * layer + (2 - u64::from(a.tied)) * vocab * dim;
    a.body + norms + matrices + 4 * matrices / group
}

/// Answers that fit the file's size and the hints.
pub(super) fn unstated(source: &Foreign, sizes: Sizes) -> Result<Answer> {
    let (found, hints) = (source.map.len() as u64, &source.hints);
    let mut fits = Vec::new();
    for body in BODIES.into_iter().filter(|&b| hints.body.is_none_or(|h| h == b)) {
        for group in GROUPS.into_iter().filter(|&g| hints.group_size.is_none_or(|h| h == g)) {
            for tied in [true, false].into_iter().filter(|&t| hints.tied.is_none_or(|h| h == t)) {
                let all = (2..=MAX_HEAD_DIM).step_by(2).filter(|&n| hints.head_dim.is_none_or(|h| h == n));
                let answers = all.map(|head_dim| Answer { body, head_dim, group, tied });
                let whole = |a: &Answer| {
                    let widths = [sizes.dim, sizes.hidden, sizes.heads.saturating_mul(a.head_dim)];
                    widths.iter().all(|n| n % group == 0)
                };
                fits.extend(answers.filter(|a| whole(a) && bytes(sizes, a) == found));
            }
        }
    }
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
