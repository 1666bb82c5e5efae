//! Pre-tokenizers of byte-level BPE: how text is split before merges, by the name that GGUF has for each
//! (`tokenizer.ggml.pre`).
//!
//! In: a name. Out: the parts of a tokenizer.json that do the same. Invariant: a name that is not listed is unknown:
//! a way to split text is never guessed.

use serde_json::{json, Value};

/// One way to split text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Splits {
    /// Names in GGUF files.
    pub names: &'static [&'static str],
    /// Text is brought into Unicode's composed form first.
    composed: bool,
    /// Expressions whose matches stand alone, each applied to the pieces of the one before.
    steps: &'static [&'static str],
    /// GPT-2's own expression comes last.
    gpt2: bool,
    /// A word that is a token needs no merges.
    pub whole_words: bool,
    /// A file that does not say it puts the bos token before a prompt.
    pub bos: bool,
}

const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3_WORDS: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// Neither composed nor split further, with merges for every word and no bos token.
const PLAIN: Splits =
    Splits { names: &[], composed: false, steps: &[], gpt2: false, whole_words: false, bos: false };

/// Qwen2 and Qwen3: digits one by one, NFC first.
pub(super) const QWEN2: Splits =
    Splits { names: &["qwen2", "deepseek-r1-qwen"], composed: true, steps: &[QWEN2_WORDS], ..PLAIN };

/// Every way that is known.
pub(super) const ALL: [Splits; 11] = [
    QWEN2,
    Splits { names: &["qwen35"], composed: true, steps: &[QWEN35_WORDS], ..PLAIN },
    Splits {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0", "lfm2"],
        steps: &[LLAMA3_WORDS],
        whole_words: true,
        bos: true,
        ..PLAIN
    },
    Splits { names: &["smaug-bpe", "dbrx"], steps: &[LLAMA3_WORDS], ..PLAIN },
    Splits { names: &["tekken"], steps: &[TEKKEN_WORDS], whole_words: true, bos: true, ..PLAIN },
    Splits { names: &["seed-coder"], steps: &[SEED_CODER_WORDS], ..PLAIN },
    Splits {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        steps: &[r"\p{N}"],
        gpt2: true,
        ..PLAIN
    },
    Splits { names: &["gpt-2", "phi-2", "olmo", "mpt", "trillion", "exaone4"], gpt2: true, ..PLAIN },
    Splits {
        names: &["deepseek-coder"],
        steps: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            r"\p{N}",
        ],
        ..PLAIN
    },
    Splits {
        names: &["deepseek-v3"],
        steps: &[r"\p{N}{1,3}", "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+", DEEPSEEK_V3_WORDS],
        ..PLAIN
    },
    // What llama.cpp does with a file that says nothing better.
    Splits {
        names: &["default"],
        steps: &[
            r"[\p{P}\$\+<=>\^~\|]+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
            r"\p{N}+",
            "[0-9][0-9][0-9]",
        ],
        ..PLAIN
    },
];

impl Splits {
    /// The way of this name.
    pub fn named(name: &str) -> Option<&'static Splits> {
        ALL.iter().find(|splits| splits.names.contains(&name))
    }

    /// All names, for messages.
    pub fn names() -> String {
        let names: Vec<&str> = ALL.iter().flat_map(|splits| splits.names).copied().collect();
        names.join(", ")
    }

    /// The first expression.
    pub fn pattern(&self) -> &'static str {
        self.steps.first().copied().unwrap_or_default()
    }

    /// The `normalizer` of a tokenizer.json.
    pub fn normalizer(&self) -> Value {
        match self.composed {
            true => json!({"type": "NFC"}),
            false => Value::Null,
        }
    }

    /// The `pre_tokenizer` of a tokenizer.json.
    pub fn pre_tokenizer(&self) -> Value {
        let step = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let mut steps: Vec<Value> = self.steps.iter().map(step).collect();
        steps.push(json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": self.gpt2,
        }));
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_way() {
        let mut names: Vec<&str> = ALL.iter().flat_map(|splits| splits.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            assert!(Splits::named(name).is_some_and(|s| s.names.contains(&name)), "{name}");
        }
        assert_eq!((Splits::named("none"), Splits::named("")), (None, None));
    }
}
