//! Text to token ids and back, as the checkpoint's tokenizer.json says.
//!
//! In: text, or ids. Out: ids, or the exact bytes of an id. Invariant: the bytes of ids put
//! together are the bytes of the text that they spell; control tokens (special=true) have none. Any number of threads
//! may use it at a time: nothing in it changes. This file, `around` and `vocabulary` alone know the tokenizers crate.

use std::collections::HashMap;

use bytes::Bytes;
use qwenc_bpe::Prepared;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::Model;

use crate::post_processor::{self, Around};
use crate::vocabulary::{Plain, Shared};
use qwenc_engine::error::{Error, Result};

/// Bytes of a text that are encoded without a thought.
const BEGINNING: usize = 64 << 10;

/// The image's tokenizer.
pub struct Tokenizer {
    inner: Inner,
    added: HashMap<u32, Added>,
    controls: Vec<(String, u32)>,
    spelling: Spelling,
    /// Whether a text's first space is not its own: the tokenizer puts one before every text.
    pub(super) strips: bool,
    size: usize,
}

/// Owner of the vocabulary.
enum Inner {
    /// The image, in tables, where it is a plain one: nothing is read before it is looked for.
    Plain(Box<Both<Plain>>),
    /// The library, which knows all kinds.
    Any(Box<Both<Shared>>),
}

/// Two tokenizers around one vocabulary, as whether control tokens are recognised is a setting of the library's.
struct Both<M> {
    parsed: Around<M>,
    literal: Around<M>,
}

struct Added {
    text: String,
    control: bool,
}

/// Spelling of bytes in the vocabulary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's: one printable character per byte.
    ByteLevel,
    /// SentencePiece's: U+2581 for a space, `<0x0A>` for bytes that are no character.
    Metaspace,
}

/// Whether control tokens written out in a text mean the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controls {
    /// They do: the text is a prompt that says so, or a rendered template.
    Parsed,
    /// They are just characters: the text comes from a user.
    Literal,
}

impl Tokenizer {
    /// Opens what the compiler made of a tokenizer.json: that file itself where its vocabulary is not a plain one.
    pub fn open(bytes: &Bytes) -> Result<Tokenizer> {
        match Prepared::open(bytes) {
            Some(Ok(prepared)) => Ok(Tokenizer::around(post_processor::prepared(prepared)?, Inner::Plain)),
            Some(Err(damaged)) => Err(Error::Tokenizer(damaged.to_string())),
            None => Ok(Tokenizer::around(post_processor::by_the_library(bytes)?, Inner::Any)),
        }
    }

    fn around<M: Model + Clone>(inner: Around<M>, kind: impl Fn(Box<Both<M>>) -> Inner) -> Tokenizer {
        let mut added = HashMap::new();
        let mut controls = Vec::new();
        for (id, token) in inner.get_added_tokens_decoder() {
            if token.special && !token.content.is_empty() {
                controls.push((token.content.clone(), id));
            }
            added.insert(id, Added { text: token.content, control: token.special });
        }
        controls.sort();
        let spelling = match inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => Spelling::ByteLevel,
            Some(DecoderWrapper::Sequence(s))
                if s.get_decoders().iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_))) =>
            {
                Spelling::ByteLevel
            }
            _ => Spelling::Metaspace,
        };
        let size = inner.get_vocab_size(true);
        let strips = match inner.get_decoder() {
            Some(DecoderWrapper::Sequence(s)) => s.get_decoders().iter().any(strips),
            Some(decoder) => strips(decoder),
            None => false,
        };
        Tokenizer { inner: kind(Box::new(Both::new(inner))), added, controls, spelling, strips, size }
    }

    /// Number of tokens, added ones included.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The control tokens' texts and ids.
    pub fn controls(&self) -> &[(String, u32)] {
        &self.controls
    }

    /// Texts and ids of all tokens that stand beside the vocabulary, control tokens among them.
    pub fn added(&self) -> impl Iterator<Item = (&str, u32)> {
        self.added.iter().map(|(&id, a)| (a.text.as_str(), id))
    }

    /// Ids of a prompt, with whatever the tokenizer puts before and after one (Qwen: nothing).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_with(text, Controls::Parsed, true)
    }

    /// Ids of a text and nothing else.
    pub fn encode(&self, text: &str, controls: Controls) -> Result<Vec<u32>> {
        self.encode_with(text, controls, false)
    }

    fn encode_with(&self, text: &str, controls: Controls, whole_prompt: bool) -> Result<Vec<u32>> {
        match &self.inner {
            Inner::Plain(both) => both.encode(text, controls, whole_prompt),
            Inner::Any(both) => both.encode(text, controls, whole_prompt),
        }
    }

    /// The bytes that `id` stands for: none for control tokens and unknown ids.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        if let Some(added) = self.added.get(&id) {
            return if added.control { Vec::new() } else { added.text.clone().into_bytes() };
        }
        let token = match &self.inner {
            Inner::Plain(both) => both.parsed.get_model().id_to_token(id),
            Inner::Any(both) => both.parsed.get_model().id_to_token(id),
        };
        match (token, self.spelling) {
            (None, _) => Vec::new(),
            (Some(token), Spelling::ByteLevel) => byte_level(&token),
            (Some(token), Spelling::Metaspace) => metaspace(&token),
        }
    }

    /// The text of `ids`, incomplete characters replaced.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// For each id below `rows`: whether it is a token.
    pub fn known(&self, rows: usize) -> Vec<bool> {
        let in_model = |id| match &self.inner {
            Inner::Plain(both) => (id as usize) < both.parsed.get_model().0.tokens(),
            Inner::Any(both) => both.parsed.get_model().id_to_token(id).is_some(),
        };
        (0..rows as u32).map(|id| self.added.contains_key(&id) || in_model(id)).collect()
    }

    /// Whether a text is certain to have more than `most` tokens, control tokens recognised. That is seen from its
    /// beginning, so that a text that is much too long takes no longer than one that is a little too long.
    pub fn has_more_than(&self, text: &str, most: usize) -> Result<bool> {
        let mut len = most.max(BEGINNING);
        while len < text.len() {
            let end = (0..=len).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            let tokens = match &self.inner {
                Inner::Plain(both) => both.certain(&text[..end])?,
                Inner::Any(both) => both.certain(&text[..end])?,
            };
            if tokens > most {
                return Ok(true);
            }
            len = len.saturating_mul(2);
        }
        Ok(false)
    }

    /// The id of the token spelt `text`, if it is an added one.
    pub fn added_id(&self, text: &str) -> Option<u32> {
        self.added.iter().find(|(_, a)| a.text == text).map(|(&id, _)| id)
    }
}

/// Whether a decoder takes a space from the beginning of a text.
fn strips(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::Strip(strip) => strip.content == ' ' && strip.start > 0,
        DecoderWrapper::Metaspace(space) => space.get_prepend_scheme() != PrependScheme::Never,
        _ => false,
    }
}

impl<M: Model + Clone> Both<M> {
    fn new(parsed: Around<M>) -> Both<M> {
        let mut literal = parsed.clone();
        literal.set_encode_special_tokens(true);
        Both { parsed, literal }
    }

    fn encode(&self, text: &str, controls: Controls, whole_prompt: bool) -> Result<Vec<u32>> {
        let one = match controls {
            Controls::Parsed => &self.parsed,
            Controls::Literal => &self.literal,
        };
        let encoding = one.encode_fast(text, whole_prompt).map_err(|e| Error::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Fewest tokens of a text that begins so. Its last word may yet become another, of fewer tokens, but
    /// where it is that long not of half as many.
    fn certain(&self, beginning: &str) -> Result<usize> {
        let encoding = self.parsed.encode(beginning, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let words = encoding.get_word_ids();
        let last = words.iter().rev().take_while(|&word| Some(word) == words.last()).count();
        Ok(words.len() - last + last / 2)
    }
}

fn byte_level(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    // As the reference does: a token that is not spelt in the byte alphabet stands for itself.
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards.
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn metaspace(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    if let Some(byte) = byte.filter(|b| b.len() == 2).and_then(|b| u8::from_str_radix(b, 16).ok()) {
        return vec![byte];
    }
    token.replace('\u{2581}', " ").into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let mut seen: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
    }

    fn file(name: &str) -> Vec<u8> {
        use std::io::Read;
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../rt/tests/data").join(name);
        let mut json = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut json).unwrap();
        json
    }

    /// Whether both ways to read a file agree on everything that is asked of them.
    fn assert_agreed(what: &str, json: Vec<u8>, words: usize) {
        let prepared = qwenc_bpe::prepare(&json).expect(what);
        let (plain, any) =
            (Tokenizer::open(&prepared.into()).unwrap(), Tokenizer::open(&json.into()).unwrap());
        assert!(matches!((&plain.inner, &any.inner), (Inner::Plain(_), Inner::Any(_))));
        let facts = |t: &Tokenizer| (t.size(), t.strips, t.controls().to_vec(), t.known(160_000));
        assert!(facts(&plain) == facts(&any), "{what}");
        assert!((0..160_000).all(|id| plain.bytes(id) == any.bytes(id)), "{what}");
        let mut state = 1u64;
        let mut text = String::new();
        for _ in 0..words {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let id = (state >> 33) as u32 % any.size() as u32;
            text += &String::from_utf8_lossy(&any.bytes(id));
            text += ["", "<think>", " ", "\n", "\u{301}", "0", "语", "<|im_end|>"][state as usize >> 61];
        }
        text += &"长的没有空格的词".repeat(words / 10);
        for controls in [Controls::Parsed, Controls::Literal] {
            let [plain, any] = [&plain, &any].map(|t| t.encode(&text, controls).unwrap());
            assert!(plain == any, "{what}, {controls:?}");
        }
        assert!(plain.encode_prompt(&text).unwrap() == any.encode_prompt(&text).unwrap(), "{what}");
    }

    #[test]
    fn the_library_reads_the_same() {
        for name in ["qwen3-tokenizer.json.gz", "nano-tokenizer.json.gz"] {
            assert_agreed(name, file(name), 20_000);
        }
    }

    #[test]
    fn the_library_reads_the_same_of_everything_around_a_vocabulary() {
        let nano: Value = serde_json::from_slice(&file("nano-tokenizer.json.gz")).unwrap();
        let lines: Value = nano["model"]["merges"].as_array().unwrap().iter().map(line).collect();
        let flags = ["single_word", "lstrip", "rstrip", "normalized", "special"];
        let mut edits = vec![
            ("/model/ignore_merges".to_owned(), json!(true)),
            ("/model/merges".to_owned(), lines),
            ("/added_tokens/7/content".to_owned(), json!("e")),
            ("/added_tokens/7/id".to_owned(), json!(70_000)),
            ("/normalizer".to_owned(), json!({"type": "Lowercase"})),
            ("/normalizer".to_owned(), Value::Null),
            ("/pre_tokenizer".to_owned(), Value::Null),
            (
                "/pre_tokenizer".to_owned(),
                json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false}),
            ),
            ("/decoder".to_owned(), json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})),
            ("/post_processor".to_owned(), template()),
            (
                "/truncation".to_owned(),
                json!({"direction": "Right", "max_length": 100, "strategy": "LongestFirst", "stride": 0}),
            ),
            (
                "/padding".to_owned(),
                json!({"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 7, "pad_id": 1,
                    "pad_type_id": 0, "pad_token": "\""}),
            ),
        ];
        edits.extend(flags.map(|flag| (format!("/added_tokens/7/{flag}"), json!(true))));
        edits.extend(flags.map(|flag| (format!("/added_tokens/2/{flag}"), json!(flag != "special"))));
        for (place, value) in edits {
            let mut json = nano.clone();
            *json.pointer_mut(&place).unwrap() = value;
            assert_agreed(&place, json.to_string().into_bytes(), 500);
        }
        let mut bare = nano;
        bare.as_object_mut().unwrap().retain(|key, _| ["model", "added_tokens"].contains(&key.as_str()));
        assert_agreed("nothing around it", bare.to_string().into_bytes(), 500);
    }

    /// A merge in the older spelling.
    fn line(pair: &Value) -> Value {
        json!(format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
    }

    /// One that puts a token before every prompt.
    fn template() -> Value {
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [2037], "tokens": ["<|endoftext|>"]}}
        })
    }

    #[test]
    fn other_vocabularies_are_left_to_the_library() {
        let unigram =
            r#"{"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["ab", -1.5]]}"#;
        let words = r###"{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}}"###;
        let fallback = r#"{"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": {"<unk>": 0, "<0x62>": 1, "a": 2}, "merges": []}"#;
        for (model, expected) in [(unigram, vec![2]), (words, vec![1, 2]), (fallback, vec![2, 1])] {
            let json = format!(
                r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
                    "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": {model}}}"#
            );
            assert!(qwenc_bpe::prepare(json.as_bytes()).is_none(), "{model}");
            let tokenizer = Tokenizer::open(&json.clone().into()).unwrap();
            assert_eq!(tokenizer.encode_prompt("ab").unwrap(), expected, "{model}");
        }
    }

    #[test]
    fn sentencepiece_spelling() {
        assert_eq!(metaspace("<0x0A>"), b"\n");
        assert_eq!(metaspace("\u{2581}the"), b" the");
        assert_eq!(metaspace("<0xZZ>"), b"<0xZZ>");
    }
}
