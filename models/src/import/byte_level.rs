//! A byte-level BPE vocabulary as a tokenizer.json.
//!
//! In: tokens and merges, or tokens with scores. Out: the JSON that the runtime's tokenizer library reads, and back.
//! Invariant: ids are those of the file; text is split as the named tokenizer splits it, and no other is guessed.

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use super::score_file::Token;
use super::sentencepiece::Kind;
use super::splits::{self, Splits};

/// Tokens by id, in the byte alphabet where they are not named ones.
pub(super) struct Vocabulary {
    pub tokens: Vec<(String, Kind)>,
    pub merges: Vec<(String, String)>,
    pub splits: &'static Splits,
    /// The tokens around every prompt.
    pub around: Around,
}

/// The ids of the tokens before and after every prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

/// An entry of `added_tokens`.
pub(super) fn added(id: usize, text: &str, control: bool) -> Value {
    json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": control})
}

impl Around {
    /// The post-processor of a tokenizer.json; null without tokens. `text` gives a token's spelling.
    pub fn post_processor<'a>(self, text: impl Fn(u32) -> Option<&'a str>) -> Value {
        let named = |id: Option<u32>| id.and_then(|id| Some((id, text(id)?)));
        let (bos, eos) = (named(self.bos), named(self.eos));
        if bos.or(eos).is_none() {
            return Value::Null;
        }
        let token =
            |(_, text): (u32, &str), part: u32| json!({"SpecialToken": {"id": text, "type_id": part}});
        let sequence = |name: &str, part: u32| {
            let text = json!({"Sequence": {"id": name, "type_id": part}});
            let all = [bos.map(|t| token(t, part)), Some(text), eos.map(|t| token(t, part))];
            all.into_iter().flatten().collect::<Vec<_>>()
        };
        let of =
            |(id, text): (u32, &str)| (text.to_string(), json!({"id": text, "ids": [id], "tokens": [text]}));
        let tokens: Map<String, Value> = bos.into_iter().chain(eos).map(of).collect();
        let pair = [sequence("A", 0), sequence("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": sequence("A", 0),
            "pair": pair,
            "special_tokens": tokens,
        })
    }
}

impl Vocabulary {
    /// The JSON of a tokenizer.json.
    pub fn tokenizer_json(&self) -> Value {
        let tokens = || self.tokens.iter().enumerate().filter(|(_, (_, kind))| *kind != Kind::Unused);
        let named = |kind: Kind| kind != Kind::Normal;
        // The library numbers named tokens from the vocabulary's end on; where the file's ids are others, they
        // must be part of the vocabulary.
        let plain = tokens().filter(|(_, (_, kind))| !named(*kind)).count();
        let in_order = tokens().map(|(id, _)| id).eq(0..tokens().count())
            && tokens().skip(plain).all(|(_, (_, kind))| named(*kind));
        let mut vocab = Map::new();
        for (id, (text, kind)) in tokens() {
            if !(in_order && named(*kind)) {
                vocab.entry(text.clone()).or_insert(json!(id));
            }
        }
        let added = tokens().filter(|(_, (_, kind))| named(*kind));
        let added: Vec<Value> =
            added.map(|(id, (text, kind))| self::added(id, text, *kind != Kind::User)).collect();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": self.splits.normalizer(),
            "pre_tokenizer": self.splits.pre_tokenizer(),
            "post_processor": self.around.post_processor(|id| Some(self.tokens.get(id as usize)?.0.as_str())),
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": self.splits.whole_words,
                "vocab": vocab,
                "merges": self.merges.iter().map(|(l, r)| json!([l, r])).collect::<Vec<_>>(),
            },
        })
    }
}

/// GPT-2's alphabet: printable Latin-1 for itself, the other bytes as characters from U+0100 on.
fn letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
            char::from_u32(0x100 + before).unwrap_or('\u{fffd}')
        }
    }
}

fn spelt(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| letter(b)).collect()
}

/// The bytes that a token in GPT-2's alphabet stands for.
pub(super) fn unspelt(token: &str) -> Option<Vec<u8>> {
    let bytes: HashMap<char, u8> = (0..=255).map(|b| (letter(b), b)).collect();
    token.chars().map(|c| bytes.get(&c).copied()).collect()
}

/// A vocabulary whose merges are told by the scores alone: each token is made of the two pieces that the merges
/// before its own leave of it. What is not made of two is a named token, and so is what scores no more than single
/// bytes do: no merge made those.
pub(super) fn scored(tokens: &[Token]) -> Option<Vocabulary> {
    let mut order: Vec<usize> = (0..tokens.len()).filter(|&id| tokens[id].bytes.len() > 1).collect();
    // Scores are numbers: `score_file` has checked that.
    order.sort_by(|&a, &b| tokens[b].score.total_cmp(&tokens[a].score).then(a.cmp(&b)));
    let singles = tokens.iter().filter(|t| t.bytes.len() == 1).map(|t| t.bytes[0]);
    if singles.collect::<std::collections::HashSet<u8>>().len() < 256 {
        return None;
    }
    let floor = floor(tokens);
    let mut ranks: HashMap<&[u8], usize> = HashMap::new();
    let mut kinds = vec![Kind::Normal; tokens.len()];
    let mut merges = Vec::new();
    for (rank, id) in order.into_iter().enumerate() {
        let bytes = &tokens[id].bytes[..];
        let made = floor.is_none_or(|floor| tokens[id].score > floor);
        match two_pieces(bytes, &ranks).filter(|_| made) {
            Some(at) => {
                merges.push((spelt(&bytes[..at]), spelt(&bytes[at..])));
                ranks.entry(bytes).or_insert(rank);
            }
            None if bytes.starts_with(b"<|") => kinds[id] = Kind::Control,
            None => kinds[id] = Kind::User,
        }
    }
    let text = |(token, kind): (&Token, Kind)| match kind {
        Kind::Normal if token.bytes.is_empty() => (String::new(), Kind::Unused),
        Kind::Normal => (spelt(&token.bytes), kind),
        _ => (String::from_utf8_lossy(&token.bytes).into_owned(), kind),
    };
    Some(Vocabulary {
        tokens: tokens.iter().zip(kinds).map(text).collect(),
        merges,
        splits: &splits::QWEN2,
        around: Around::default(),
    })
}

/// The score of single bytes, where it is one and few of the longer tokens have no more.
fn floor(tokens: &[Token]) -> Option<f32> {
    let (singles, longer): (Vec<_>, Vec<_>) = tokens.iter().partition(|t| t.bytes.len() <= 1);
    let floor = singles.first()?.score;
    let below = longer.iter().filter(|t| t.score <= floor).count();
    (singles.iter().all(|t| t.score == floor) && 8 * below <= longer.len()).then_some(floor)
}

/// Longest token that merges make; a longer one is taken for a named one.
const LONGEST: usize = 512;

/// Offset at which the two pieces meet that merges of these ranks leave of `bytes`.
fn two_pieces(bytes: &[u8], ranks: &HashMap<&[u8], usize>) -> Option<usize> {
    if bytes.len() > LONGEST {
        return None;
    }
    let mut ends: Vec<usize> = (0..=bytes.len()).collect();
    while ends.len() > 3 {
        let pair = |i: usize| ranks.get(&bytes[ends[i]..ends[i + 2]]).map(|&rank| (rank, i));
        let (_, first) = (0..ends.len() - 2).filter_map(pair).min()?;
        ends.remove(first + 1);
    }
    Some(ends[1])
}
