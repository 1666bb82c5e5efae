//! Logits as a request wants them changed before a token is chosen: penalties for what was said, biases, tokens that
//! never come, a set of tokens that alone may come.
//!
//! In: a token's logits, not changed. Out: a copy with the changes. Invariant: repetition counts the prompt and the
//! answer, presence and frequency the answer alone; a token outside of the set has no chance whatever its bias.

use std::collections::HashMap;

use crate::error::Result;
use crate::inference::sampler::Sampler;
use crate::inference::step::{Output, Results};

/// Strengths of the penalties.
#[derive(Clone, Debug, PartialEq)]
pub struct Penalties {
    /// Taken from the logit of a token that the answer holds.
    pub presence: f32,
    /// The same, as many times as it holds it.
    pub frequency: f32,
    /// Divides a positive logit, and multiplies a negative one, of a token of prompt or answer; 1: not at all.
    pub repetition: f32,
    /// Added to the logits of these tokens.
    pub bias: Vec<(u32, f32)>,
    /// Tokens that have no chance.
    pub never: Vec<u32>,
}

impl Default for Penalties {
    fn default() -> Penalties {
        Penalties { presence: 0.0, frequency: 0.0, repetition: 1.0, bias: Vec::new(), never: Vec::new() }
    }
}

/// The changes of one sequence.
pub struct Adjust {
    how: Penalties,
    /// Number of times that the answer has a token; 0 for one of the prompt alone.
    said: HashMap<u32, u32>,
    changed: Vec<f32>,
}

impl Adjust {
    /// For an answer to `prompt`.
    pub fn new(how: Penalties, prompt: &[u32]) -> Adjust {
        let said = if how.repetition == 1.0 {
            HashMap::new()
        } else {
            prompt.iter().map(|&token| (token, 0)).collect()
        };
        Adjust { how, said, changed: Vec::new() }
    }

    /// Whether logits stay as they are as long as every token may come.
    pub fn is_neutral(&self) -> bool {
        self.how == Penalties::default()
    }

    /// The answer goes on with `token`.
    pub fn push(&mut self, token: u32) {
        if !self.is_neutral() {
            *self.said.entry(token).or_default() += 1;
        }
    }

    /// The changed logits. `only`: bit `id % 32` of word `id / 32` says whether a token may come.
    pub fn apply<'a>(&'a mut self, logits: &'a [f32], only: Option<&[u32]>) -> &'a [f32] {
        if self.is_neutral() && only.is_none() {
            return logits;
        }
        self.changed.clear();
        self.changed.extend_from_slice(logits);
        for (&token, &times) in &self.said {
            if let Some(logit) = self.changed.get_mut(token as usize) {
                let factor = self.how.repetition;
                *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
                let present = if times > 0 { self.how.presence } else { 0.0 };
                *logit -= present + self.how.frequency * times as f32;
            }
        }
        for &(token, bias) in &self.how.bias {
            if let Some(logit) = self.changed.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for &token in &self.how.never {
            if let Some(logit) = self.changed.get_mut(token as usize).filter(|l| !l.is_nan()) {
                *logit = f32::NEG_INFINITY;
            }
        }
        if let Some(words) = only {
            for (id, logit) in self.changed.iter_mut().enumerate() {
                // A damaged model's logits stay visible.
                let allowed = words.get(id / 32).is_some_and(|w| w >> (id % 32) & 1 == 1);
                if !allowed && !logit.is_nan() {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        &self.changed
    }
}

/// A sampler and the changes of the logits that it sees: what chooses the tokens of one sequence.
pub struct AdjustedSampler<'s> {
    /// Chooses.
    pub sampler: &'s mut Sampler,
    /// Changes what it chooses from.
    pub adjust: Adjust,
}

impl AdjustedSampler<'_> {
    /// Results of a step that this sampler reads: logits, or the likeliest token alone.
    pub fn results(&self) -> Results {
        match self.adjust.is_neutral() {
            true => self.sampler.results(),
            false => Results::Logits,
        }
    }

    /// Picks the next token of the sequence.
    pub fn choose(&mut self, output: Output) -> Result<u32> {
        if self.adjust.is_neutral() {
            return self.sampler.choose(output);
        }
        let token = self.sampler.pick(self.adjust.apply(output.logits()?, None))?;
        self.adjust.push(token);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [2.0, -2.0, 4.0, 0.5, f32::NEG_INFINITY];

    #[test]
    fn nothing_wanted_nothing_changed() {
        let mut plain = Adjust::new(Penalties::default(), &[0, 1]);
        plain.push(2);
        assert!(plain.is_neutral());
        assert_eq!(plain.apply(&LOGITS, None), LOGITS);
    }

    #[test]
    fn penalties_count_what_they_say() {
        let how = Penalties { presence: 1.0, frequency: 0.25, ..Penalties::default() };
        let mut answer = Adjust::new(how, &[0, 1]);
        [2, 2, 3, 4, 99].into_iter().for_each(|token| answer.push(token));
        // The prompt does not count; token 99 has no logit.
        assert_eq!(answer.apply(&LOGITS, None), [2.0, -2.0, 2.5, -0.75, f32::NEG_INFINITY]);
        let how = Penalties { repetition: 2.0, ..Penalties::default() };
        let mut answer = Adjust::new(how, &[0, 1]);
        [2, 2].into_iter().for_each(|token| answer.push(token));
        assert_eq!(answer.apply(&LOGITS, None), [1.0, -4.0, 2.0, 0.5, f32::NEG_INFINITY]);
    }

    #[test]
    fn a_bias_cannot_bring_back_what_may_not_come() {
        let how = Penalties { bias: vec![(0, 100.0), (3, 1.0), (77, 1.0)], ..Penalties::default() };
        let mut answer = Adjust::new(how, &[]);
        assert_eq!(answer.apply(&LOGITS, None), [102.0, -2.0, 4.0, 1.5, f32::NEG_INFINITY]);
        let none = f32::NEG_INFINITY;
        assert_eq!(answer.apply(&LOGITS, Some(&[0b1010])), [none, -2.0, none, 1.5, none]);
        assert_eq!(answer.apply(&LOGITS, Some(&[])), [none; 5]);
        let how = Penalties { bias: vec![(0, 100.0)], never: vec![0, 2, 77], ..Penalties::default() };
        assert_eq!(Adjust::new(how, &[]).apply(&LOGITS, None), [none, -2.0, none, 0.5, none]);
        assert!(answer.apply(&[f32::NAN; 5], Some(&[0b10])).iter().all(|l| l.is_nan()));
    }
}
