//! Shares of a step: tokens of each slot.
//!
//! In: how many tokens each sequence has yet to feed. Out: how many each feeds now. Invariant: a sequence that waits
//! for its next token always gets it; beside such ones prompts are read in small pieces, so that no client that reads an
//! answer waits for another client's long prompt; prompts share alike, and the earliest takes what others leave.

/// Rows of prompts in a step that others wait for.
pub const BESIDE_DECODE: usize = 64;

/// `pending[i]` tokens are left of sequence `i`, earlier ones first; a step has at most `most` rows, no less than there
/// are sequences.
pub fn shares(pending: &[usize], most: usize) -> Vec<usize> {
    let mut shares: Vec<usize> = pending.iter().map(|&n| n.min(1)).collect();
    let taken: usize = shares.iter().sum();
    let waits = pending.contains(&1);
    let readers = pending.iter().filter(|&&n| n > 1).count();
    let free = most.saturating_sub(taken);
    let free = if waits { free.min(BESIDE_DECODE) } else { free };
    if readers == 0 {
        return shares;
    }
    let mut left = free;
    // First alike, then in order.
    for most in [free / readers, free] {
        for (share, &n) in shares.iter_mut().zip(pending) {
            let more = (n - *share).min(most).min(left);
            *share += more;
            left -= more;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_comes_first_and_prompts_share() {
        assert_eq!(shares(&[1, 1, 1], 512), [1, 1, 1]);
        assert_eq!(shares(&[2000], 512), [512]);
        assert_eq!(shares(&[2000, 2000], 512), [256, 256]);
        assert_eq!(shares(&[10, 2000, 2000], 512), [10, 332, 170]);
        assert_eq!(shares(&[2000, 1, 1], 512), [65, 1, 1]);
        assert_eq!(shares(&[1, 100, 100], 512), [1, 33, 33]);
        assert_eq!(shares(&[0, 3, 0, 1], 512), [0, 3, 0, 1]);
        assert_eq!(shares(&[5, 5, 5], 3), [1, 1, 1]);
        assert_eq!(shares(&[5, 5, 5], 4), [2, 1, 1]);
        assert_eq!(shares(&[], 4), [0; 0]);
    }

    #[test]
    fn no_step_is_too_large_and_none_stands_still() {
        for seed in 0..2000usize {
            let count = 1 + seed % 9;
            let pending: Vec<usize> = (0..count).map(|i| (seed * 7919 + i * 104_729) % 700).collect();
            let most = count + seed % 600;
            let shares = shares(&pending, most);
            assert!(shares.iter().sum::<usize>() <= most, "{pending:?} {most}");
            assert!(shares.iter().zip(&pending).all(|(&s, &p)| s <= p && (s > 0) == (p > 0)));
        }
    }
}
