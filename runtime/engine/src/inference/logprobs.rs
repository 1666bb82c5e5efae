//! Log probabilities of a chosen token and of the likeliest ones.
//!
//! In: logits as the model computed them, the chosen token. Out: natural logarithms of probabilities. Invariant: the
//! model's own word, before temperature, penalties and whatever else decides; -inf is never shown.

/// Log probability written for an excluded token: JSON has no -inf.
const LEAST: f32 = -9999.0;

/// A token and the likeliest in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Log probability of the chosen token.
    pub chosen: f32,
    /// Tokens and theirs, the likeliest first, the lowest id first among equals.
    pub top: Vec<(u32, f32)>,
}

/// For `token`, with the `count` likeliest, among those that `allowed[id]` names: padding rows are no tokens.
pub fn logprobs(logits: &[f32], allowed: &[bool], token: u32, count: usize) -> Logprobs {
    let is_token = |id: u32| allowed.get(id as usize).copied().unwrap_or(false);
    let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|&id| is_token(id)).collect();
    let logit = |id: u32| logits[id as usize];
    let most = ids.iter().map(|&id| logit(id)).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = ids.iter().map(|&id| f64::from(logit(id) - most).exp()).sum();
    let all = f64::from(most) + sum.ln();
    let of = |logit: f32| ((f64::from(logit) - all) as f32).max(LEAST);
    let likelier = |&a: &u32, &b: &u32| logit(b).total_cmp(&logit(a)).then(a.cmp(&b));
    let count = count.min(ids.len());
    if count > 0 && count < ids.len() {
        ids.select_nth_unstable_by(count - 1, likelier);
    }
    ids.truncate(count);
    ids.sort_unstable_by(likelier);
    let top = ids.into_iter().map(|id| (id, of(logit(id)))).collect();
    Logprobs { chosen: logits.get(token as usize).map_or(LEAST, |&l| of(l)), top }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_ties_keep_their_order() {
        let logits = [1.0, 3.0, 3.0, f32::NEG_INFINITY, 0.0];
        let every = [true; 5];
        let all = logprobs(&logits, &every, 4, 5);
        let sum: f64 = all.top.iter().map(|(_, l)| f64::from(*l).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(all.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2, 0, 4, 3]);
        assert_eq!((all.chosen, all.top[4].1), (all.top[3].1, LEAST));
        assert_eq!(logprobs(&logits, &every, 1, 2).top, all.top[..2]);
        assert!(logprobs(&logits, &every, 0, 0).top.is_empty());
        let padded = logprobs(&[0.0, 50.0, 0.0], &[true, false], 0, 3);
        assert_eq!(padded, Logprobs { chosen: 0.0, top: vec![(0, 0.0)] });
    }
}
