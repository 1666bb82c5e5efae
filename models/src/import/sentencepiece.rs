//! A SentencePiece vocabulary as a tokenizer.json.
//!
//! In: pieces with scores. Out: the JSON that the runtime's tokenizer library reads. Invariant: pairs are joined in
//! the order of the scores of what they make, as SentencePiece does it, and what no piece spells becomes bytes.

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use super::byte_level::Around;

/// Kind of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    /// Text that is one token wherever it stands.
    User,
    Byte,
    Unused,
}

/// A piece, U+2581 for a space.
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Kind,
}

/// All pieces by id.
pub(super) struct Vocabulary {
    pub pieces: Vec<Piece>,
    /// The tokens around every prompt.
    pub around: Around,
    /// Whether a text begins with a space that is not there.
    pub prefix: bool,
}

const SPACE: &str = "\u{2581}";

impl Vocabulary {
    /// The JSON of a tokenizer.json.
    pub fn tokenizer_json(&self) -> Value {
        let mut vocab = Map::new();
        for (id, piece) in self.pieces.iter().enumerate() {
            // Of two pieces with one spelling the first is meant.
            vocab.entry(piece.text.clone()).or_insert(json!(id));
        }
        let added = |(id, p): (usize, &Piece)| super::byte_level::added(id, &p.text, p.kind != Kind::User);
        let named = |p: &Piece| matches!(p.kind, Kind::Unknown | Kind::Control | Kind::User);
        let added: Vec<Value> = self.pieces.iter().enumerate().filter(|(_, p)| named(p)).map(added).collect();
        let unknown = self.pieces.iter().find(|p| p.kind == Kind::Unknown).map(|p| p.text.clone());
        let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let bytes = self.pieces.iter().any(|p| p.kind == Kind::Byte);
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "post_processor": self.around.post_processor(|id| Some(self.pieces.get(id as usize)?.text.as_str())),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": bytes, "ignore_merges": false,
                "vocab": vocab, "merges": self.merges(),
            },
        })
    }

    /// Every way to make a piece of two, those of the likeliest pieces first.
    fn merges(&self) -> Vec<Value> {
        let normal = |p: &&Piece| p.kind == Kind::Normal;
        let known: HashMap<&str, usize> =
            self.pieces.iter().enumerate().map(|(i, p)| (p.text.as_str(), i)).collect();
        let mut found = Vec::new();
        for piece in self.pieces.iter().filter(normal) {
            for (at, _) in piece.text.char_indices().skip(1) {
                let (left, right) = piece.text.split_at(at);
                if let (Some(&l), Some(&r)) = (known.get(left), known.get(right)) {
                    found.push((piece.score, l, r, json!([left, right])));
                }
            }
        }
        // Scores are numbers: readers have checked that.
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        found.into_iter().map(|(.., pair)| pair).collect()
    }
}
