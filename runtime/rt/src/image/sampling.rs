//! Sampling defaults: how tokens are chosen where neither a flag nor a request says it.
//!
//! In: the `sampling` object of an image's metadata, which the compiler has checked. Out: [`Defaults`], from which
//! `generate`, `chat` and `serve` start. Invariant: an absent value is neutral, so that an image without the object is
//! greedy and changes no logits.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::inference::adjust::Penalties;
use crate::inference::sampler::Sampling;

/// Values for every answer that asks for no others.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0: all.
    pub top_k: u32,
    /// Keep the likeliest tokens that together have this probability; 1: all.
    pub top_p: f32,
    /// Keep tokens at least this likely, relative to the likeliest; 0: all.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens of prompt and answer; 1: changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logit of a token that the answer holds.
    pub presence_penalty: f32,
    /// The same, as many times as the answer holds the token.
    pub frequency_penalty: f32,
    /// Tokens that are never chosen.
    pub suppress_tokens: Vec<u32>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Most tokens of an answer; none: the command decides.
    pub max_tokens: Option<usize>,
    /// Other values for answers without thinking, if the family's maker recommends them.
    pub without_thinking: Option<WithoutThinking>,
    /// Source of each value, by its name in the image's metadata.
    pub origins: BTreeMap<String, String>,
}

/// Temperature and top-p of answers without thinking.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[allow(missing_docs)] // the names are those of [`Defaults`]
pub struct WithoutThinking {
    pub temperature: f32,
    pub top_p: f32,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            suppress_tokens: Vec::new(),
            stop: Vec::new(),
            max_tokens: None,
            without_thinking: None,
            origins: BTreeMap::new(),
        }
    }
}

impl Defaults {
    /// The same penalties, stop strings and limits, but always the likeliest token.
    pub fn greedy(self) -> Defaults {
        let Sampling { temperature, top_k, top_p, min_p } = Sampling::GREEDY;
        Defaults { temperature, top_k, top_p, min_p, without_thinking: None, ..self }
    }

    /// The filters for an answer that does, or does not, begin with thinking.
    pub fn sampling(&self, thinks: bool) -> Sampling {
        let (temperature, top_p) = match self.without_thinking.filter(|_| !thinks) {
            Some(other) => (other.temperature, other.top_p),
            None => (self.temperature, self.top_p),
        };
        Sampling { temperature, top_k: self.top_k, top_p, min_p: self.min_p }
    }

    /// The changes of logits.
    pub fn penalties(&self) -> Penalties {
        Penalties {
            presence: self.presence_penalty,
            frequency: self.frequency_penalty,
            repetition: self.repetition_penalty,
            bias: Vec::new(),
            never: self.suppress_tokens.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_object_is_neutral() {
        let none: Defaults = serde_json::from_str("{}").unwrap();
        assert_eq!(none, Defaults::default());
        assert_eq!((none.sampling(true), none.penalties()), (Sampling::GREEDY, Penalties::default()));
    }

    #[test]
    fn answers_without_thinking_have_their_own_temperature() {
        let qwen: Defaults = serde_json::from_str(
            r#"{"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05, "suppress_tokens": [3],
                "without_thinking": {"temperature": 0.7, "top_p": 0.8}, "origins": {"top_k": "family default"}}"#,
        )
        .unwrap();
        let thinks = Sampling { temperature: 0.6, top_k: 20, top_p: 0.95, min_p: 0.0 };
        assert_eq!(qwen.sampling(true), thinks);
        assert_eq!(qwen.sampling(false), Sampling { temperature: 0.7, top_p: 0.8, ..thinks });
        let penalties = Penalties { repetition: 1.05, never: vec![3], ..Penalties::default() };
        assert_eq!(qwen.penalties(), penalties);
        let greedy = qwen.greedy();
        assert_eq!((greedy.sampling(false), greedy.penalties()), (Sampling::GREEDY, penalties));
    }
}
