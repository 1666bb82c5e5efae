//! Sampling defaults: how tokens are chosen where neither a flag nor a request says it.
//!
//! In: the sampling defaults of an image's metadata, which the compiler has checked. Out: filters and penalties, from
//! which `generate`, `chat` and `serve` start. Invariant: absent defaults are greedy and change no logits.

use qwenc_abi::metadata::SamplingDefaults;

use crate::inference::logits_processor::Penalties;
use crate::inference::sampler::Sampling;

/// The same penalties, stop strings and limits, but always the likeliest token.
pub fn greedy(defaults: SamplingDefaults) -> SamplingDefaults {
    let Sampling { temperature, top_k, top_p, min_p } = Sampling::GREEDY;
    SamplingDefaults { temperature, top_k, top_p, min_p, without_thinking: None, ..defaults }
}

/// The filters for an answer that does, or does not, begin with thinking.
pub fn filters(defaults: &SamplingDefaults, thinks: bool) -> Sampling {
    let (temperature, top_p) = match defaults.without_thinking.filter(|_| !thinks) {
        Some(other) => (other.temperature, other.top_p),
        None => (defaults.temperature, defaults.top_p),
    };
    Sampling { temperature, top_k: defaults.top_k, top_p, min_p: defaults.min_p }
}

/// The changes of logits.
pub fn penalties(defaults: &SamplingDefaults) -> Penalties {
    Penalties {
        presence: defaults.presence_penalty,
        frequency: defaults.frequency_penalty,
        repetition: defaults.repetition_penalty,
        bias: Vec::new(),
        never: defaults.suppress_tokens.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_object_is_neutral() {
        let none: SamplingDefaults = serde_json::from_str("{}").unwrap();
        assert_eq!(none, SamplingDefaults::default());
        assert_eq!((filters(&none, true), super::penalties(&none)), (Sampling::GREEDY, Penalties::default()));
    }

    #[test]
    fn answers_without_thinking_have_their_own_temperature() {
        let qwen: SamplingDefaults = serde_json::from_str(
            r#"{"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05, "suppress_tokens": [3],
                "without_thinking": {"temperature": 0.7, "top_p": 0.8}, "origins": {"top_k": "family default"}}"#,
        )
        .unwrap();
        let thinks = Sampling { temperature: 0.6, top_k: 20, top_p: 0.95, min_p: 0.0 };
        assert_eq!(filters(&qwen, true), thinks);
        assert_eq!(filters(&qwen, false), Sampling { temperature: 0.7, top_p: 0.8, ..thinks });
        let penalties = Penalties { repetition: 1.05, never: vec![3], ..Penalties::default() };
        assert_eq!(super::penalties(&qwen), penalties);
        let greedy = super::greedy(qwen);
        assert_eq!((filters(&greedy, false), super::penalties(&greedy)), (Sampling::GREEDY, penalties));
    }
}
