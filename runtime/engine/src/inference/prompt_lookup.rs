//! Prompt-lookup speculation: proposes the continuation of the longest earlier match.
//!
//! In: the tokens so far. Out: a guess of the next ones, maybe none. Invariant: a guess changes nothing but speed;
//! whoever asks has the model check it.

/// Most tokens at the end that are looked for earlier.
const MOST: usize = 4;
/// Fewest: a single token comes up everywhere.
const LEAST: usize = 2;

/// At most `count` tokens: those that followed the longest ending of `tokens` that stands there earlier, the last
/// time that it did.
pub fn guess(tokens: &[u32], count: usize) -> &[u32] {
    for len in (LEAST..=MOST).rev().filter(|&len| len < tokens.len()) {
        let (_, ending) = tokens.split_at(tokens.len() - len);
        // The ending itself is the last window.
        let earlier = tokens[..tokens.len() - 1].windows(len).rposition(|window| window == ending);
        if let Some(at) = earlier {
            let follows = &tokens[at + len..];
            return &follows[..count.min(follows.len())];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_wins_then_the_latest() {
        assert_eq!(guess(&[1, 2, 3, 9, 1, 2, 3], 8), [9, 1, 2, 3]);
        assert_eq!(guess(&[1, 2, 3, 9, 1, 2, 3], 2), [9, 1]);
        assert_eq!(guess(&[7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2], 1), [5], "three tokens before the later two");
        assert_eq!(guess(&[1, 2, 5, 1, 2, 6, 1, 2], 1), [6]);
        assert_eq!(guess(&[4, 4, 4], 3), [4]);
        for nothing in [&[][..], &[1], &[1, 1], &[1, 2], &[1, 2, 3, 1]] {
            assert!(guess(nothing, 3).is_empty(), "{nothing:?}");
        }
        assert!(guess(&[1, 2, 1, 2], 0).is_empty());
    }
}
