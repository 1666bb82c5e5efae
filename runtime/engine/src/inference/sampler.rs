//! From logits to a token.
//!
//! In: logits, not changed. Out: a token id. Invariant: a token that is not allowed (padding rows
//! of the vocabulary, ids unknown to the tokenizer) is never picked, nor is anything when a logit
//! is NaN; temperature 0 takes the largest logit, the lowest id among equals.

use std::sync::Arc;

use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};
use crate::inference::step::{Output, Results};

/// Settings of a sampler. The order of the filters is top-k, temperature, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Keep the k likeliest; 0: all.
    pub top_k: u32,
    /// Keep the likeliest tokens that together have at least this probability; 1: all.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the likeliest; 0: all.
    pub min_p: f32,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
}

/// A chooser of tokens with its random state.
pub struct Sampler {
    how: Sampling,
    allowed: Arc<[bool]>,
    seed: u64,
    random: ChaCha8Rng,
    kept: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
    weight: f64,
}

impl Sampler {
    /// `allowed[id]` says whether `id` may be picked; ids beyond it may not. Without a seed every
    /// sampler draws its own from the system.
    pub fn new(how: Sampling, allowed: impl Into<Arc<[bool]>>, seed: Option<u64>) -> Sampler {
        let seed = seed.unwrap_or_else(|| ChaCha8Rng::from_os_rng().next_u64());
        let allowed = allowed.into();
        Sampler { how, allowed, seed, random: ChaCha8Rng::seed_from_u64(seed), kept: Vec::new() }
    }

    /// From now on chooses so; its random numbers go on.
    pub fn set(&mut self, how: Sampling) {
        self.how = how;
    }

    /// Goes on as after `draws` tokens that were chosen by chance.
    pub fn skip_to(&mut self, draws: u64) {
        // A draw takes one number of 64 bits, two words.
        self.random.set_word_pos(2 * u128::from(draws));
    }

    /// Seed with which the choices can be repeated.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Which ids it may pick; none beyond.
    pub fn allowed(&self) -> &[bool] {
        &self.allowed
    }

    /// Form of results that it needs of a step.
    pub fn results(&self) -> Results {
        if self.is_greedy() {
            return Results::Picks;
        }
        Results::Logits
    }

    fn is_greedy(&self) -> bool {
        self.how.temperature == 0.0 || self.how.top_k == 1
    }

    /// Picks a token, or takes the one that was picked.
    pub fn choose(&mut self, output: Output) -> Result<u32> {
        match output {
            Output::Pick(token) => Ok(token),
            other => self.pick(other.logits()?),
        }
    }

    /// Picks a token.
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32> {
        let best = self.best(logits)?;
        if self.is_greedy() {
            return Ok(best);
        }
        self.keep_top_k(logits);
        self.weigh(logits[best as usize]);
        self.keep_top_p();
        let least = f64::from(self.how.min_p);
        // The likeliest has weight exp(0) = 1, so weights are relative to it.
        self.kept.retain(|c| c.weight >= least);
        Ok(self.draw(best))
    }

    fn best(&self, logits: &[f32]) -> Result<u32> {
        let mut best: Option<(usize, f32)> = None;
        for (token, &value) in logits.iter().enumerate() {
            if value.is_nan() || value == f32::INFINITY {
                return Err(Error::BadLogit { value, token });
            }
            let allowed = self.allowed.get(token).copied().unwrap_or(false);
            if allowed && value > best.map_or(f32::NEG_INFINITY, |b| b.1) {
                best = Some((token, value));
            }
        }
        best.map(|b| b.0 as u32).ok_or(Error::NothingToSample)
    }

    fn keep_top_k(&mut self, logits: &[f32]) {
        let allowed = &self.allowed;
        let every = logits
            .iter()
            .zip(allowed.iter())
            .enumerate()
            .filter(|(_, (&l, &ok))| ok && l > f32::NEG_INFINITY);
        self.kept.clear();
        self.kept.extend(every.map(|(i, (&logit, _))| Candidate { token: i as u32, logit, weight: 0.0 }));
        let k = self.how.top_k as usize;
        if k > 0 && k < self.kept.len() {
            self.kept.select_nth_unstable_by(k - 1, likelier);
            self.kept.truncate(k);
            self.kept.sort_unstable_by(likelier);
        }
    }

    fn weigh(&mut self, best: f32) {
        let temperature = f64::from(self.how.temperature);
        for c in &mut self.kept {
            c.weight = ((f64::from(c.logit) - f64::from(best)) / temperature).exp();
        }
    }

    /// Sorts only as much as is needed: mostly a few hundred of 150,000 tokens.
    fn keep_top_p(&mut self) {
        if self.how.top_p >= 1.0 {
            return;
        }
        let total: f64 = self.kept.iter().map(|c| c.weight).sum();
        let enough = f64::from(self.how.top_p) * total;
        let (mut sorted, mut sum) = (0, 0.0);
        while sorted < self.kept.len() {
            let end = (sorted * 4).clamp(256, self.kept.len().max(256)).min(self.kept.len());
            let rest = &mut self.kept[sorted..];
            if end - sorted < rest.len() {
                rest.select_nth_unstable_by(end - sorted, likelier);
            }
            rest[..end - sorted].sort_unstable_by(likelier);
            for i in sorted..end {
                sum += self.kept[i].weight;
                if sum >= enough {
                    self.kept.truncate(i + 1);
                    return;
                }
            }
            sorted = end;
        }
    }

    fn draw(&mut self, best: u32) -> u32 {
        let total: f64 = self.kept.iter().map(|c| c.weight).sum();
        // 53 random bits: uniform in [0, 1).
        let uniform = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = uniform * total;
        for c in &self.kept {
            left -= c.weight;
            if left < 0.0 {
                return c.token;
            }
        }
        // Rounding can leave a crumb; every filter keeps the likeliest.
        best
    }
}

/// Largest logit first, lowest id first among equals: a total order, as there are no NaNs.
fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(how: Sampling, n: usize, seed: u64) -> Sampler {
        Sampler::new(how, vec![true; n], Some(seed))
    }

    fn seen(how: Sampling, logits: &[f32]) -> Vec<u32> {
        let before = logits.to_vec();
        let mut s = sampler(how, logits.len(), 7);
        let mut seen: Vec<u32> = (0..3000).map(|_| s.pick(logits).unwrap()).collect();
        assert_eq!(before, logits, "the caller's logits changed");
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    const LOGITS: [f32; 6] = [0.0, 2.0, 1.0, 2.0, -1.0, f32::NEG_INFINITY];

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        assert_eq!(seen(Sampling::GREEDY, &LOGITS), [1]);
    }

    #[test]
    fn filters_keep_what_they_say() {
        let all = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        assert_eq!(seen(all, &LOGITS), [0, 1, 2, 3, 4]);
        assert_eq!(seen(Sampling { top_k: 3, ..all }, &LOGITS), [1, 2, 3]);
        assert_eq!(seen(Sampling { top_k: 100, ..all }, &LOGITS), [0, 1, 2, 3, 4]);
        assert_eq!(seen(Sampling { top_p: 0.5, ..all }, &LOGITS), [1, 3]);
        assert_eq!(seen(Sampling { top_p: 0.0, ..all }, &LOGITS), [1]);
        assert_eq!(seen(Sampling { min_p: 0.2, ..all }, &LOGITS), [1, 2, 3]);
        assert_eq!(seen(Sampling { min_p: 1.0, ..all }, &LOGITS), [1, 3]);
        // Temperature comes before top-p: a cold one leaves only the two equals likely.
        assert_eq!(seen(Sampling { temperature: 0.01, top_p: 0.999, ..all }, &LOGITS), [1, 3]);
    }

    #[test]
    fn frequencies_follow_probabilities() {
        let logits = [0.0f32, 3f32.ln()];
        let mut s = sampler(Sampling { temperature: 1.0, ..Sampling::GREEDY }, 2, 1);
        let ones: u32 = (0..20_000).map(|_| s.pick(&logits).unwrap()).sum();
        assert!((14_600..15_400).contains(&ones), "{ones} of 20000, expected 15000");
    }

    #[test]
    fn top_p_over_many_tokens_equals_a_full_sort() {
        let logits: Vec<f32> =
            (0..5000u32).map(|i| (i.wrapping_mul(2654435761) >> 20) as f32 / 400.0).collect();
        let mut order: Vec<u32> = (0..5000).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let weight = |i: u32| (f64::from(logits[i as usize]) - f64::from(logits[order[0] as usize])).exp();
        let total: f64 = (0..5000).map(weight).sum();
        let mut sum = 0.0;
        let n = 1 + order
            .iter()
            .position(|&i| {
                sum += weight(i);
                sum >= 0.9 * total
            })
            .unwrap();
        assert!(n > 300);
        let mut s = sampler(Sampling { temperature: 1.0, top_p: 0.9, ..Sampling::GREEDY }, 5000, 3);
        s.pick(&logits).unwrap();
        let kept: Vec<u32> = s.kept.iter().map(|c| c.token).collect();
        assert_eq!(kept, order[..n]);
    }

    #[test]
    fn seeds_repeat_and_differ() {
        let logits = vec![0.0; 1000];
        let how = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        let run = |seed| {
            let mut s = Sampler::new(how, vec![true; 1000], seed);
            (0..8).map(|_| s.pick(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(Some(5)), run(Some(5)));
        assert_ne!(run(Some(5)), run(Some(6)));
        assert_ne!(run(None), run(None));
    }

    #[test]
    fn skipping_is_as_drawing() {
        let logits = vec![0.0; 1000];
        let how = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        let mut through = sampler(how, 1000, 9);
        for draws in 0..40 {
            let mut there = sampler(how, 1000, 9);
            there.skip_to(draws);
            assert_eq!(there.pick(&logits).unwrap(), through.pick(&logits).unwrap(), "{draws}");
        }
    }

    #[test]
    fn excluded_tokens_and_bad_logits() {
        let how = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        let mut s = Sampler::new(how, vec![true, false, true], Some(1));
        for _ in 0..200 {
            assert!([0, 2].contains(&s.pick(&[0.0, 50.0, 0.0, 50.0]).unwrap()));
        }
        for how in [how, Sampling::GREEDY] {
            let mut s = sampler(how, 2, 1);
            assert!(matches!(s.pick(&[0.0, f32::NAN]), Err(Error::BadLogit { token: 1, .. })));
            assert!(matches!(s.pick(&[f32::INFINITY, 0.0]), Err(Error::BadLogit { token: 0, .. })));
            assert!(matches!(s.pick(&[f32::NEG_INFINITY; 2]), Err(Error::NothingToSample)));
        }
    }
}
