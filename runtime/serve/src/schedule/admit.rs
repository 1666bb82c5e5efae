//! Which slot a new job gets, and what of its prompt need not be read.
//!
//! In: slots, a prompt. Out: a [`Place`]. Invariant: a cache that is worth more to others is not overwritten where a
//! copy of its beginning does; at least the prompt's last token is run, for its logits.

use crate::schedule::slot::Slot;

/// Shorter beginnings are read again: that costs no more than to find them.
const WORTH_SHARING: usize = 16;

/// Place of a job: a slot, and tokens that are in a cache already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its slot.
    pub slot: usize,
    /// Tokens of the slot's own cache to keep.
    pub keep: usize,
    /// Another slot that holds more of the beginning, or is about to, and how much.
    pub like: Option<(usize, usize)>,
}

/// A place for `prompt` with this adapter; none if every slot is taken.
pub fn place(slots: &[Slot], prompt: &[u32], adapter: u32) -> Option<Place> {
    let most = prompt.len().saturating_sub(1);
    let shared: Vec<usize> = slots.iter().map(|s| s.shared(prompt, adapter).min(most)).collect();
    let free = || slots.iter().enumerate().filter(|(_, s)| s.work.is_none()).map(|(i, _)| i);
    let held = |i: usize| slots[i].session.tokens().len();
    // The conversation goes on: most of what is there is used again.
    let same = free().filter(|&i| shared[i] >= WORTH_SHARING && shared[i] * 2 >= held(i));
    let slot = same
        .max_by_key(|&i| (shared[i], std::cmp::Reverse(i)))
        .or_else(|| free().min_by_key(|&i| (held(i) > 0, slots[i].used, i)))?;
    let keep = if shared[slot] >= WORTH_SHARING { shared[slot] } else { 0 };
    let best = (0..slots.len()).max_by_key(|&i| (shared[i], std::cmp::Reverse(i)))?;
    let like = (shared[best] >= keep + WORTH_SHARING).then_some((best, shared[best]));
    Some(Place { slot, keep, like })
}
