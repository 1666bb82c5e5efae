//! Metadata of a weights image: parsing, and the facts about answers that follow from it.
//!
//! In: bytes of the image. Out: [`Metadata`], and what follows from it for answers. Invariant: unknown keys are ignored
//! and missing ones have neutral values, so that old executables read new images' metadata and vice versa.

use qwenc_abi::metadata::Metadata;

use crate::error::{Error, Result};

/// Reads the metadata section of an image.
pub fn parse(bytes: &[u8]) -> Result<Metadata> {
    serde_json::from_slice(bytes).map_err(Error::Metadata)
}

/// Whether an answer to this rendered prompt begins with thinking: the prompt opens it, or leaves it to the model
/// where the template knows how to ask for it.
pub fn thinks(about: &Metadata, prompt: &str) -> bool {
    let end = prompt.trim_end();
    let asks = about.chat_template.as_ref().is_some_and(|source| source.contains("enable_thinking"));
    end.ends_with("<think>") || asks && !end.ends_with("</think>")
}

/// Names of the adapters, for people.
pub fn adapter_names(about: &Metadata) -> String {
    if about.adapters.is_empty() {
        return "none; compile with --lora-runtime".to_owned();
    }
    about.adapters.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_opened_or_left_to_the_model() {
        let with = |source: &str| Metadata { chat_template: Some(source.into()), ..Metadata::default() };
        let (asks, silent) = (with("{% if enable_thinking is false %}"), with("{{ '<think>' in content }}"));
        for (prompt, expected) in [
            ("a<|im_start|>assistant\n", [true, false]),
            ("assistant\n<think>\n", [true, true]),
            ("assistant\n<think>\n\n</think>\n\n", [false, false]),
        ] {
            assert_eq!([thinks(&asks, prompt), thinks(&silent, prompt)], expected, "{prompt:?}");
        }
        assert!(!thinks(&Metadata::default(), "once"));
    }

    #[test]
    fn optional_and_unknown_keys() {
        let m = parse(b"{}").unwrap();
        assert!(m.chat_template.is_none() && m.stop_tokens.is_empty() && m.per_token.is_none());
        let m = parse(
            br#"{"model": {"name": "nano", "layers": 4, "new": 1}, "chat_template": null, "stop_tokens": [1, 2],
                 "sampling": {"temperature": 0.6, "top_k": 20, "later": [1]}, "later": []}"#,
        )
        .unwrap();
        assert_eq!((m.model.name.as_str(), m.model.layers), ("nano", 4));
        assert_eq!(m.sampling.top_k, 20);
        assert!(parse(b"[").unwrap_err().to_string().contains("compile again"));
    }
}
