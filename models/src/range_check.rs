//! Values that are numbers and still cannot be right. In: what is known of each tensor, a vocabulary. Out: problems.
//!
//! Invariant: no trained model that works is complained of: the limits are far beyond those of the models that there
//! are. What is outside of them would drown or wipe out everything else.

use serde_json::Value;

use crate::problem::{Check, Problem};
use crate::tensor_stats::TensorSummary;

/// Largest gain of a norm: trained ones stay below a few hundred.
const MOST_GAIN: f32 = 1e4;
/// Least largest gain: below, the norm's output is nothing.
const LEAST_GAIN: f32 = 1e-4;
/// Largest scale: a weight of int8 may be 127 times as large.
const MOST_SCALE: f32 = 1e3;

/// Problem with the size of a norm's or a scale's values.
pub(crate) fn sizes(tensor: &TensorSummary) -> Option<Problem> {
    let most = tensor.max_abs?;
    let (check, what, least, limit) = match tensor.name.as_str() {
        name if name.ends_with("norm.weight") => (Check::Norms, "gains", LEAST_GAIN, MOST_GAIN),
        name if name.ends_with(".scales") => (Check::Scales, "scales", f32::MIN_POSITIVE, MOST_SCALE),
        _ => return None,
    };
    let complaint = |expected: String| {
        let text =
            format!("tensor {}: expected {what} of {expected}, found {most:e} as the largest", tensor.name);
        Some(Problem::new(check, text))
    };
    match most {
        _ if most > limit => complaint(format!("at most {limit:e}")),
        _ if most < least && tensor.not_finite == 0 => complaint(format!("{least:e} or more")),
        _ => None,
    }
}

/// Ids of a tokenizer.json that the embedding has no row for.
pub(crate) fn ids(tokenizer: &str, vocab_rows: u32) -> Vec<Problem> {
    let complaint = |text: String| vec![Problem::new(Check::Tokenizer, format!("tokenizer.json: {text}"))];
    let json: Value = match serde_json::from_str(tokenizer) {
        Ok(json) => json,
        Err(e) => return complaint(format!("expected JSON, found {e}")),
    };
    match largest_id(&json) {
        None => complaint("expected a vocabulary at model.vocab, found none".to_string()),
        Some((id, token)) if id >= u64::from(vocab_rows) => complaint(format!(
            "expected ids below {vocab_rows}, the rows of the embedding, found {id} for {token:?}"
        )),
        Some(_) => Vec::new(),
    }
}

/// The largest id and its token.
pub(crate) fn largest_id(tokenizer: &Value) -> Option<(u64, &str)> {
    let vocabulary = match &tokenizer["model"]["vocab"] {
        Value::Object(ids) => ids.iter().filter_map(|(t, id)| Some((id.as_u64()?, t.as_str()))).max(),
        // Of a unigram model: pairs of a token and its score, whose places are the ids.
        Value::Array(tokens) => {
            let last = tokens.last().and_then(|pair| pair[0].as_str()).unwrap_or_default();
            tokens.len().checked_sub(1).map(|id| (id as u64, last))
        }
        _ => None,
    };
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let added = added.filter_map(|t| Some((t["id"].as_u64()?, t["content"].as_str().unwrap_or_default())));
    vocabulary.into_iter().chain(added).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(name: &str, most: f32) -> TensorSummary {
        TensorSummary {
            name: name.into(),
            dtype: "f32".into(),
            shape: vec![2],
            offset: 0,
            bytes: 8,
            max_abs: Some(most),
            not_finite: 0,
        }
    }

    #[test]
    fn norms_and_scales_have_their_limits() {
        let found = |name: &str, most| sizes(&summary(name, most)).map(|p| p.check);
        for (name, good) in [("model.norm.weight", [1e-3, 300.0]), ("a.weight.scales", [1e-6, 1.0])] {
            assert_eq!(good.map(|most| found(name, most)), [None, None], "{name}");
        }
        assert_eq!(found("model.norm.weight", 1e5), Some(Check::Norms));
        assert_eq!(found("model.layers.0.self_attn.q_norm.weight", 1e-6), Some(Check::Norms));
        assert_eq!(found("a.weight.scales", 1e4), Some(Check::Scales));
        assert_eq!(found("a.weight.scales", 0.0), Some(Check::Scales));
        assert_eq!(found("a.weight", 1e30), None);
    }

    #[test]
    fn ids_are_those_of_vocabulary_and_added_tokens() {
        let map = r#"{"model": {"vocab": {"a": 0, "b": 7}}, "added_tokens": [{"id": 9, "content": "<x>"}]}"#;
        assert!(ids(map, 10).is_empty());
        assert!(ids(map, 9)[0].ends_with("found 9 for \"<x>\""));
        assert!(ids(r#"{"model": {"vocab": [["a", 0.0], ["b", 1.0]]}}"#, 1)[0].contains("found 1 for \"b\""));
        assert!(ids("{}", 1)[0].contains("found none"));
    }
}
