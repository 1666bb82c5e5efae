//! Byte-pair encoding: words to token ids by merging neighbours, in the form that is quick to build.
//!
//! In: tokens in the order of their ids, merges in the order of their ranks. Out: the ids of a word. Invariant:
//! no memory of its own for any token or merge: one text holds all tokens, one table finds them, one all merges.
//! Of the vocabularies that a tokenizer.json can say this covers the plain ones, which `bpe_json.rs` tells apart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;

/// Slots looked at before a table gives up: a file made to collide must not take forever.
const MOST_PROBES: usize = 256;
/// Texts or pairs that are looked up together: their cache misses overlap.
const BATCH: usize = 64;

/// Texts with the ids 0, 1, 2, …
#[derive(Debug, Default)]
pub struct Tokens {
    text: String,
    /// Where each text ends.
    ends: Vec<u32>,
    /// Upper half of a text's hash, then its id plus 1; 0 is free. A power of two, at least twice the tokens.
    slots: Vec<u64>,
}

impl Tokens {
    /// Adds a text; it is not found before [`Tokens::index`]. False if all texts together are too long.
    #[must_use]
    pub fn push(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        let end = u32::try_from(self.text.len());
        self.ends.extend(end.ok());
        end.is_ok()
    }

    /// Makes every text be found. False if two are the same, or too many collide.
    #[must_use]
    pub fn index(&mut self) -> bool {
        self.slots = vec![0; (2 * self.ends.len()).next_power_of_two()];
        (0..self.ends.len() as u32).all(|id| {
            let hash = hash_of(self.bytes(id));
            match self.probe(hash, self.bytes(id)) {
                Probe::Free(slot) => self.slots[slot] = hash & !0xffff_ffff | u64::from(id + 1),
                Probe::Found(_) | Probe::GaveUp => return false,
            }
            true
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of `id`.
    pub fn get(&self, id: u32) -> Option<&str> {
        ((id as usize) < self.len()).then(|| &self.text[self.range(id)])
    }

    /// The id of `text`.
    pub fn id(&self, text: &[u8]) -> Option<u32> {
        match self.probe(hash_of(text), text) {
            Probe::Found(id) => Some(id),
            Probe::Free(_) | Probe::GaveUp => None,
        }
    }

    /// The ids of `texts`, `None` for what is no token.
    fn ids(&self, texts: [&[u8]; BATCH]) -> [Option<u32>; BATCH] {
        let mask = self.slots.len() - 1;
        let hashes = texts.map(hash_of);
        // Only to have in the cache what the search will read.
        let slots = hashes.map(|hash| self.slots[hash as usize & mask]);
        black_box(slots.map(|slot| match slot {
            0 => 0,
            taken => self.bytes(taken as u32 - 1).first().copied().unwrap_or(0),
        }));
        std::array::from_fn(|i| match self.probe(hashes[i], texts[i]) {
            Probe::Found(id) => Some(id),
            Probe::Free(_) | Probe::GaveUp => None,
        })
    }

    fn range(&self, id: u32) -> std::ops::Range<usize> {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        start as usize..self.ends[id as usize] as usize
    }

    fn bytes(&self, id: u32) -> &[u8] {
        &self.text.as_bytes()[self.range(id)]
    }

    fn probe(&self, hash: u64, text: &[u8]) -> Probe {
        let mask = self.slots.len() - 1;
        for i in 0..MOST_PROBES {
            let at = (hash as usize).wrapping_add(i) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                return Probe::Free(at);
            }
            let id = slot as u32 - 1;
            if slot >> 32 == hash >> 32 && self.bytes(id) == text {
                return Probe::Found(id);
            }
        }
        Probe::GaveUp
    }
}

enum Probe {
    Found(u32),
    Free(usize),
    GaveUp,
}

/// Pairs of texts, one after the other.
#[derive(Debug, Default)]
pub struct Pairs {
    text: Vec<u8>,
    /// Where left and right texts end.
    ends: Vec<[u32; 2]>,
}

impl Pairs {
    /// Adds a pair. False if all texts together are too long.
    #[must_use]
    pub fn push(&mut self, left: &str, right: &str) -> bool {
        self.text.extend_from_slice(left.as_bytes());
        let middle = self.text.len() as u32;
        self.text.extend_from_slice(right.as_bytes());
        let end = u32::try_from(self.text.len());
        self.ends.extend(end.ok().map(|end| [middle, end]));
        end.is_ok()
    }

    /// Start, middle and end of a pair; an empty one behind the last.
    fn bounds(&self, i: usize) -> [usize; 3] {
        let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |e| e[1]);
        let [middle, end] = self.ends.get(i).copied().unwrap_or([start; 2]);
        [start, middle, end].map(|at| at as usize)
    }

    fn left(&self, i: usize) -> &[u8] {
        let [start, middle, _] = self.bounds(i);
        &self.text[start..middle]
    }

    fn right(&self, i: usize) -> &[u8] {
        let [_, middle, end] = self.bounds(i);
        &self.text[middle..end]
    }

    fn both(&self, i: usize) -> &[u8] {
        let [start, _, end] = self.bounds(i);
        &self.text[start..end]
    }
}

/// Which pairs of neighbours become one, and which first.
#[derive(Debug, Default)]
pub struct Merges {
    /// Pair, rank, and the merged token's id plus 1, where 0 is free. A power of two.
    slots: Vec<(u64, u32, u32)>,
}

impl Merges {
    /// The pairs, the first of which has the lowest rank. `None` if one is not of tokens or makes none, or if too
    /// many collide.
    pub fn new(tokens: &Tokens, pairs: &Pairs) -> Option<Merges> {
        let count = pairs.ends.len();
        let mut merges = Merges { slots: vec![(0, 0, 0); (count + count / 2).next_power_of_two()] };
        let mut likely = 0;
        for start in (0..count).step_by(BATCH) {
            let left = tokens.ids(std::array::from_fn(|i| pairs.left(start + i)));
            let right = tokens.ids(std::array::from_fn(|i| pairs.right(start + i)));
            let mask = merges.slots.len() - 1;
            black_box(std::array::from_fn::<u32, BATCH, _>(|i| {
                let key = pair(left[i].unwrap_or(0), right[i].unwrap_or(0));
                merges.slots[mix(key) as usize & mask].2
            }));
            for i in 0..BATCH.min(count - start) {
                let both = pairs.both(start + i);
                // Where tokens have the order of the merges that made them, this saves a search.
                let guess = tokens.get(likely).filter(|text| text.as_bytes() == both).map(|_| likely);
                let merged = guess.or_else(|| tokens.id(both))?;
                merges.insert(pair(left[i]?, right[i]?), (start + i) as u32, merged)?;
                likely = merged.saturating_add(1);
            }
        }
        Some(merges)
    }

    fn insert(&mut self, key: u64, rank: u32, merged: u32) -> Option<()> {
        let mask = self.slots.len() - 1;
        for i in 0..MOST_PROBES {
            let slot = &mut self.slots[(mix(key) as usize).wrapping_add(i) & mask];
            if slot.2 == 0 || slot.0 == key {
                *slot = (key, rank, merged + 1);
                return Some(());
            }
        }
        None
    }

    /// Rank and merged token of a pair.
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let (key, mask) = (pair(left, right), self.slots.len() - 1);
        for i in 0..MOST_PROBES {
            let slot = self.slots[(mix(key) as usize).wrapping_add(i) & mask];
            if slot.2 == 0 {
                return None;
            }
            if slot.0 == key {
                return Some((slot.1, slot.2 - 1));
            }
        }
        None
    }
}

/// A vocabulary and how words are put together from it.
#[derive(Debug, Default)]
pub struct Bpe {
    /// The vocabulary.
    pub tokens: Tokens,
    /// How its tokens come about.
    pub merges: Merges,
    /// Whether a word that is a token is that token, whatever the merges say.
    pub whole_words: bool,
}

/// A piece of a word: a token and how many bytes it spells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The token.
    pub id: u32,
    /// Bytes of the word. 0 marks a piece that went into the one before it.
    pub bytes: usize,
}

/// No piece.
const NONE: u32 = u32::MAX;

impl Bpe {
    /// The tokens of a word; characters that are no token are left out.
    pub fn encode(&self, word: &str) -> Vec<Piece> {
        if self.whole_words {
            if let Some(id) = self.tokens.id(word.as_bytes()) {
                return vec![Piece { id, bytes: word.len() }];
            }
        }
        let mut buffer = [0; 4];
        let piece = |c: char| {
            let text = c.encode_utf8(&mut buffer).as_bytes();
            self.tokens.id(text).map(|id| Piece { id, bytes: text.len() })
        };
        let mut pieces: Vec<Piece> = word.chars().filter_map(piece).collect();
        self.merge(&mut pieces);
        pieces.retain(|p| p.bytes > 0);
        pieces
    }

    /// Always the pair of lowest rank, of equal ones the leftmost, until no pair is left.
    fn merge(&self, pieces: &mut [Piece]) {
        let len = pieces.len() as u32;
        // Neighbours that are still there, by position.
        let mut before: Vec<u32> = (0..len).map(|i| i.wrapping_sub(1)).collect();
        let mut after: Vec<u32> = (1..=len).map(|i| if i == len { NONE } else { i }).collect();
        let ranked = |pieces: &[Piece], left: u32, right: u32| {
            let found = self.merges.get(pieces[left as usize].id, pieces[right as usize].id);
            found.map(|(rank, merged)| Reverse((rank, left, merged)))
        };
        let mut queue: BinaryHeap<_> = (1..len).filter_map(|i| ranked(pieces, i - 1, i)).collect();
        while let Some(Reverse((_, left, merged))) = queue.pop() {
            let right = after[left as usize];
            // What was queued may have changed since.
            if pieces[left as usize].bytes == 0 || right == NONE {
                continue;
            }
            if ranked(pieces, left, right).is_none_or(|Reverse((_, _, now))| now != merged) {
                continue;
            }
            pieces[left as usize].id = merged;
            pieces[left as usize].bytes += std::mem::take(&mut pieces[right as usize].bytes);
            let next = after[right as usize];
            after[left as usize] = next;
            if next != NONE {
                before[next as usize] = left;
                queue.extend(ranked(pieces, left, next));
            }
            let previous = before[left as usize];
            if previous != NONE {
                queue.extend(ranked(pieces, previous, left));
            }
        }
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(x: u64) -> u64 {
    let wide = u128::from(x ^ FACTOR) * u128::from(FACTOR);
    (wide >> 64) as u64 ^ wide as u64
}

fn hash_of(text: &[u8]) -> u64 {
    let mut hash = text.len() as u64;
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let rest = rest.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
    mix(hash ^ rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bpe(tokens: &[&str], merges: &[(&str, &str)]) -> Bpe {
        let mut bpe = Bpe::default();
        assert!(tokens.iter().all(|t| bpe.tokens.push(t)) && bpe.tokens.index());
        let mut pairs = Pairs::default();
        assert!(merges.iter().all(|(left, right)| pairs.push(left, right)));
        bpe.merges = Merges::new(&bpe.tokens, &pairs).unwrap();
        bpe
    }

    fn spelt(bpe: &Bpe, word: &str) -> String {
        let texts: Vec<&str> = bpe.encode(word).iter().map(|p| bpe.tokens.get(p.id).unwrap()).collect();
        texts.join(" ")
    }

    #[test]
    fn the_lowest_rank_goes_first_and_the_leftmost_of_equals() {
        let mut b = bpe(&["a", "b", "c", "ab", "bc", "aa", "aab"], &[("b", "c"), ("a", "a"), ("a", "b")]);
        assert_eq!(spelt(&b, "abc"), "a bc");
        assert_eq!(spelt(&b, "aaab"), "aa ab");
        assert_eq!(spelt(&b, "aaaaa"), "aa aa a");
        assert_eq!(spelt(&b, "aab"), "aa b");
        assert_eq!(spelt(&b, "axb"), "ab", "as if the unknown were not there");
        assert_eq!(spelt(&b, ""), "");
        b.whole_words = true;
        assert_eq!(spelt(&b, "aab"), "aab");
    }

    #[test]
    fn texts_are_found_by_all_of_their_bytes() {
        let texts: Vec<String> = (0..3000).map(|i| format!("{}{i}", "x".repeat(i % 20))).collect();
        let mut tokens = Tokens::default();
        assert!(texts.iter().all(|t| tokens.push(t)) && tokens.index());
        for (id, text) in texts.iter().enumerate() {
            assert_eq!(
                (tokens.id(text.as_bytes()), tokens.get(id as u32)),
                (Some(id as u32), Some(&text[..]))
            );
            assert_eq!(tokens.id(format!("{text}!").as_bytes()), None);
        }
        assert_eq!((tokens.len(), tokens.get(3000)), (3000, None));
        assert!(tokens.push("20") && !tokens.index(), "twice the same");
    }

    #[test]
    fn every_merge_of_many_is_found_and_unknown_ones_are_refused() {
        let letters: Vec<String> = ('a'..='z').map(String::from).collect();
        let all: Vec<(&str, &str)> =
            letters.iter().flat_map(|a| letters.iter().map(move |b| (&a[..], &b[..]))).collect();
        let both: Vec<String> = all.iter().rev().map(|(a, b)| format!("{a}{b}")).collect();
        let tokens: Vec<&str> = letters.iter().chain(&both).map(String::as_str).collect();
        let b = bpe(&tokens, &all);
        assert!(both.iter().all(|text| spelt(&b, text) == *text));
        for (left, right) in [("a", "?"), ("?", "a"), ("aa", "a")] {
            let mut pairs = Pairs::default();
            assert!(pairs.push("a", "a") && pairs.push(left, right));
            assert!(Merges::new(&b.tokens, &pairs).is_none());
        }
    }
}
