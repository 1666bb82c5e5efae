//! A vocabulary to a block.
//!
//! In: tokens and merges. Out: the bytes that `block.rs` reads. Invariant: whatever is in them is found there; what
//! could not be, as too many collide or all is too long, is refused.

use std::collections::HashMap;

use crate::block::{END, HEAD, MAGIC, MERGE_SLOT, TOKEN_SLOT, WHOLE_WORDS};
use crate::hash;

/// A vocabulary as tokenizer.json has it.
#[derive(Debug, Default)]
pub struct Vocabulary {
    /// By id.
    pub tokens: Vec<String>,
    /// In the order of their ranks.
    pub merges: Vec<(String, String)>,
    /// Whether a word that is a token is that token, whatever the merges say.
    pub whole_words: bool,
}

impl Vocabulary {
    /// The block; `None` if a merge is not of tokens to a token, or if it cannot hold all.
    pub fn block(&self) -> Option<Vec<u8>> {
        let merges = self.merges_by_id()?;
        let token_slots = token_slots(&self.tokens)?;
        let merge_slots = merge_slots(&merges)?;
        let texts = self.tokens.concat();
        let head = [
            if self.whole_words { WHOLE_WORDS } else { 0 },
            self.tokens.len().try_into().ok()?,
            (token_slots.len() / TOKEN_SLOT).try_into().ok()?,
            (merge_slots.len() / MERGE_SLOT).try_into().ok()?,
            u32::try_from(texts.len()).ok()?,
            0,
        ];
        let mut end = 0;
        let ends = self.tokens.iter().flat_map(|token| {
            end += token.len() as u32;
            end.to_le_bytes()
        });
        let mut block = Vec::with_capacity(
            HEAD + END * self.tokens.len() + token_slots.len() + merge_slots.len() + texts.len(),
        );
        block.extend(MAGIC);
        block.extend(head.iter().flat_map(|number: &u32| number.to_le_bytes()));
        block.extend(ends);
        block.extend(token_slots);
        block.extend(merge_slots);
        block.extend(texts.into_bytes());
        Some(block)
    }

    /// Pairs with the tokens that they become; of equal pairs the last one counts, as in the reference.
    fn merges_by_id(&self) -> Option<HashMap<(u32, u32), (u32, u32)>> {
        let ids: HashMap<&str, u32> = (0..).zip(&self.tokens).map(|(id, text)| (text.as_str(), id)).collect();
        let mut merges = HashMap::with_capacity(self.merges.len());
        let mut both = String::new();
        for (rank, (left, right)) in (0..).zip(&self.merges) {
            both.clear();
            both.extend([left.as_str(), right.as_str()]);
            let [left, right, merged] = [left, right, &both].map(|text| ids.get(text.as_str()).copied());
            merges.insert((left?, right?), (rank, merged?));
        }
        Some(merges)
    }
}

fn token_slots(tokens: &[String]) -> Option<Vec<u8>> {
    let mut slots = Slots::<TOKEN_SLOT>::new((2 * tokens.len()).next_power_of_two());
    for (id, text) in (0u32..).zip(tokens) {
        let hash = hash::of_text(text.as_bytes());
        slots.insert(hash, &[id.checked_add(1)?, (hash >> 32) as u32], 0)?;
    }
    Some(slots.bytes)
}

fn merge_slots(merges: &HashMap<(u32, u32), (u32, u32)>) -> Option<Vec<u8>> {
    let mut slots = Slots::<MERGE_SLOT>::new((merges.len() + merges.len() / 2).next_power_of_two());
    // The same file makes the same bytes, whatever the order of a map.
    let mut sorted: Vec<_> = merges.iter().collect();
    sorted.sort_unstable_by_key(|(_, (rank, _))| *rank);
    for (&(left, right), &(rank, merged)) in sorted {
        slots.insert(hash::of_pair(left, right), &[left, right, rank, merged.checked_add(1)?], 3)?;
    }
    Some(slots.bytes)
}

/// A table of slots of this many bytes.
struct Slots<const BYTES: usize> {
    bytes: Vec<u8>,
}

impl<const BYTES: usize> Slots<BYTES> {
    fn new(slots: usize) -> Slots<BYTES> {
        Slots { bytes: vec![0; BYTES * slots] }
    }

    /// Puts numbers where they are looked for; slots whose number `used` is 0 are free.
    fn insert(&mut self, hash: u64, numbers: &[u32], used: usize) -> Option<()> {
        let free = |bytes: &[u8]| bytes[4 * used..][..4] == [0; 4];
        let slots = self.bytes.len() / BYTES;
        let at = hash::probes(hash, slots).map(|at| BYTES * at).find(|&at| free(&self.bytes[at..]))?;
        for (to, number) in self.bytes[at..].chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        Some(())
    }
}
