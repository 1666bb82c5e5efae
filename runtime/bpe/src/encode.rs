//! Words to token ids, by merging neighbours.
//!
//! In: a word. Out: its tokens, and how many of its bytes each spells. Invariant: always the pair of lowest rank
//! becomes one, of equal ones the leftmost, until none is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::block::Bpe;

/// A piece of a word.
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
            if let Some(id) = self.id(word.as_bytes()) {
                return vec![Piece { id, bytes: word.len() }];
            }
        }
        let mut buffer = [0; 4];
        let piece = |c: char| {
            let text = c.encode_utf8(&mut buffer).as_bytes();
            self.id(text).map(|id| Piece { id, bytes: text.len() })
        };
        let mut pieces: Vec<Piece> = word.chars().filter_map(piece).collect();
        self.join(&mut pieces);
        pieces.retain(|p| p.bytes > 0);
        pieces
    }

    fn join(&self, pieces: &mut [Piece]) {
        let len = pieces.len() as u32;
        // Neighbours that are still there, by position.
        let mut before: Vec<u32> = (0..len).map(|i| i.wrapping_sub(1)).collect();
        let mut after: Vec<u32> = (1..=len).map(|i| if i == len { NONE } else { i }).collect();
        let ranked = |pieces: &[Piece], left: u32, right: u32| {
            let found = self.merge(pieces[left as usize].id, pieces[right as usize].id);
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
