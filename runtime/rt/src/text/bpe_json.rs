//! The `model` of a tokenizer.json to a [`Bpe`], read in one pass without an intermediate form.
//!
//! In: JSON. Out: the vocabulary, or an error. Invariant: what is read means here what it means to the
//! tokenizers crate, and whatever is not plain (another kind of model, unknown tokens, prefixes, ids out of order)
//! is an error, after which `tokenizer.rs` lets the crate read the file.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::Deserialize;

use crate::text::bpe::{Bpe, Merges, Pairs, Tokens};

impl<'de> Deserialize<'de> for Bpe {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Bpe, D::Error> {
        json.deserialize_map(Model)
    }
}

struct Model;

impl<'de> Visitor<'de> for Model {
    type Value = Bpe;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a plain BPE model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bpe, A::Error> {
        let mut bpe = Bpe::default();
        let mut is_bpe = false;
        let mut has_merges = false;
        while let Some(key) = map.next_key::<String>()? {
            let plain = match key.as_str() {
                "type" => {
                    is_bpe = map.next_value::<String>()? == "BPE";
                    is_bpe
                }
                "dropout" | "unk_token" => map.next_value::<Option<IgnoredAny>>()?.is_none(),
                "continuing_subword_prefix" | "end_of_word_suffix" => {
                    map.next_value::<Option<String>>()?.is_none_or(|s| s.is_empty())
                }
                // Only unknown tokens are fused, and there are none.
                "fuse_unk" => {
                    map.next_value::<Option<bool>>()?;
                    true
                }
                "byte_fallback" => map.next_value::<Option<bool>>()? != Some(true),
                "ignore_merges" => {
                    bpe.whole_words = map.next_value::<Option<bool>>()?.unwrap_or(false);
                    true
                }
                "vocab" if bpe.tokens.len() == 0 => {
                    bpe.tokens = map.next_value_seed(VocabSeed)?;
                    bpe.tokens.len() > 0
                }
                "merges" if bpe.tokens.len() > 0 && !has_merges => {
                    bpe.merges = map.next_value_seed(MergesSeed(&bpe.tokens))?;
                    has_merges = true;
                    true
                }
                _ => false,
            };
            if !plain {
                return Err(A::Error::custom(format!("{key} is not that of a plain BPE model")));
            }
        }
        if is_bpe && has_merges {
            return Ok(bpe);
        }
        Err(A::Error::custom("type, vocab or merges are missing"))
    }
}

/// An object of texts to ids, which count up from 0.
struct VocabSeed;

impl<'de> DeserializeSeed<'de> for VocabSeed {
    type Value = Tokens;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Tokens, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for VocabSeed {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tokens in the order of their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens::default();
        while map.next_key_seed(Text(|text: &str| tokens.push(text)))? == Some(true) {
            if map.next_value::<u32>()? as usize + 1 != tokens.len() {
                return Err(A::Error::custom("the ids do not count up from 0"));
            }
        }
        if tokens.index() {
            return Ok(tokens);
        }
        Err(A::Error::custom("a token is there twice"))
    }
}

/// A list of pairs, or of texts that have a space between the two.
struct MergesSeed<'t>(&'t Tokens);

impl<'de> DeserializeSeed<'de> for MergesSeed<'_> {
    type Value = Merges;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Merges, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MergesSeed<'_> {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
        let mut pairs = Pairs::default();
        let mut left = String::new();
        while list.next_element_seed(PairSeed { pairs: &mut pairs, left: &mut left })?.is_some() {}
        Merges::new(self.0, &pairs).ok_or_else(|| A::Error::custom("a merge is not of tokens to a token"))
    }
}

/// One merge; `left` is memory to use.
struct PairSeed<'p> {
    pairs: &'p mut Pairs,
    left: &'p mut String,
}

impl<'de> DeserializeSeed<'de> for PairSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PairSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("two tokens")
    }

    fn visit_str<E: Error>(self, line: &str) -> Result<(), E> {
        let sides =
            line.split_once(' ').filter(|(_, right)| !line.starts_with("#version") && !right.contains(' '));
        let pushed = sides.is_some_and(|(left, right)| self.pairs.push(left, right));
        pushed.then_some(()).ok_or_else(|| E::custom("a merge is not two tokens and a space"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<(), A::Error> {
        let PairSeed { pairs, left } = self;
        left.clear();
        let one = sides.next_element_seed(Text(|text: &str| left.push_str(text)))?;
        let two = sides.next_element_seed(Text(|text: &str| pairs.push(left, text)))?;
        match (one, two, sides.next_element::<IgnoredAny>()?) {
            (Some(()), Some(true), None) => Ok(()),
            _ => Err(A::Error::custom("a merge is not of two tokens")),
        }
    }
}

/// Hands a text over without keeping it.
struct Text<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        json.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"type": "BPE", "dropout": null, "unk_token": null, "end_of_word_suffix": "",
        "fuse_unk": false, "vocab": {"a": 0, "\"": 1, "a\"": 2}, "merges": [["a", "\""]]}"#;

    fn read(json: &str) -> Result<Bpe, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn both_spellings_of_merges_are_read() {
        for json in [PLAIN.to_owned(), PLAIN.replace(r#"["a", "\""]"#, r#""a \"""#)] {
            let bpe = read(&json).unwrap();
            let ids: Vec<u32> = bpe.encode("a\"a").iter().map(|p| p.id).collect();
            assert_eq!((ids, bpe.tokens.len(), bpe.whole_words), (vec![2, 0], 3, false));
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_crate() {
        let edits = [
            (r#""BPE""#, r#""Unigram""#),
            (r#""type": "BPE", "#, ""),
            (r#""dropout": null"#, r#""dropout": 0.1"#),
            (r#""unk_token": null"#, r#""unk_token": "a""#),
            (r#""end_of_word_suffix": """#, r#""end_of_word_suffix": "x""#),
            (r#""fuse_unk": false"#, r#""byte_fallback": true"#),
            (r#""fuse_unk": false"#, r#""later": false"#),
            (r#""a": 0, "#, r#""a": 1, "#),
            (r#""\"": 1"#, r#""a": 1"#),
            (r#"["a", "\""]"#, r#"["a", "b"]"#),
            (r#"["a", "\""]"#, r#"["a", "a"]"#),
            (r#"["a", "\""]"#, r#"["a", "\"", "a"]"#),
            (r#"["a", "\""]"#, r#""a  \"""#),
            (r#"["a", "\""]"#, "1"),
            (r#", "merges": [["a", "\""]]"#, ""),
        ];
        for (from, to) in edits {
            assert!(PLAIN.contains(from));
            assert!(read(&PLAIN.replace(from, to)).is_err(), "{to}");
        }
    }
}
