//! Blocks hold what tokenizer.json says, and damaged ones are refused or read without harm.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use qwenc_bpe::{prepare, Bpe, Prepared};
use serde_json::{json, Value};

fn tokenizer(tokens: &[&str], merges: &[(&str, &str)]) -> Value {
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, text)| (text.to_string(), json!(id))).collect();
    json!({
        "version": "1.0", "added_tokens": [{"id": 7, "content": "<x>"}],
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges},
        "decoder": null
    })
}

fn open(json: &Value) -> Option<Prepared> {
    let bytes = prepare(json.to_string().as_bytes())?;
    Some(Prepared::open(&Bytes::from(bytes)).unwrap().unwrap())
}

fn spelt(bpe: &Bpe, word: &str) -> String {
    let texts: Vec<&str> = bpe.encode(word).iter().map(|p| bpe.text(p.id).unwrap()).collect();
    texts.join(" ")
}

#[test]
fn the_lowest_rank_goes_first_and_the_leftmost_of_equals() {
    let mut json =
        tokenizer(&["a", "b", "c", "ab", "bc", "aa", "aab"], &[("b", "c"), ("a", "a"), ("a", "b")]);
    let bpe = open(&json).unwrap().bpe;
    assert_eq!(spelt(&bpe, "abc"), "a bc");
    assert_eq!(spelt(&bpe, "aaab"), "aa ab");
    assert_eq!(spelt(&bpe, "aaaaa"), "aa aa a");
    assert_eq!(spelt(&bpe, "aab"), "aa b");
    assert_eq!(spelt(&bpe, "axb"), "ab", "as if the unknown were not there");
    assert_eq!(spelt(&bpe, ""), "");
    json["model"]["ignore_merges"] = json!(true);
    assert_eq!(spelt(&open(&json).unwrap().bpe, "aab"), "aab");
}

#[test]
fn of_equal_merges_the_last_one_counts() {
    let tokens = ["a", "b", "ab", "bb"];
    let once = open(&tokenizer(&tokens, &[("a", "b"), ("b", "b")])).unwrap().bpe;
    assert_eq!(spelt(&once, "abb"), "ab b");
    let twice = open(&tokenizer(&tokens, &[("a", "b"), ("b", "b"), ("a", "b")])).unwrap().bpe;
    assert_eq!(spelt(&twice, "abb"), "a bb");
}

#[test]
fn texts_are_found_by_all_of_their_bytes() {
    let texts: Vec<String> = (0..3000).map(|i| format!("{}{i}", "xé".repeat(i % 20))).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let bpe = open(&tokenizer(&all, &[])).unwrap().bpe;
    for (id, text) in (0..).zip(&texts) {
        assert_eq!((bpe.id(text.as_bytes()), bpe.text(id)), (Some(id), Some(text.as_str())));
        assert_eq!(bpe.id(format!("{text}!").as_bytes()), None);
    }
    assert_eq!((bpe.tokens(), bpe.text(3000), bpe.text(u32::MAX)), (3000, None, None));
}

#[test]
fn every_merge_of_many_is_found() {
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    let all: Vec<(&str, &str)> =
        letters.iter().flat_map(|a| letters.iter().map(move |b| (&a[..], &b[..]))).collect();
    let both: Vec<String> = all.iter().rev().map(|(a, b)| format!("{a}{b}")).collect();
    let tokens: Vec<&str> = letters.iter().chain(&both).map(String::as_str).collect();
    let bpe = open(&tokenizer(&tokens, &all)).unwrap().bpe;
    assert!(both.iter().all(|text| spelt(&bpe, text) == *text));
    assert_eq!(spelt(&bpe, "abc"), "ab c");
}

#[test]
fn the_rest_is_handed_on_and_the_same_file_makes_the_same_bytes() {
    let json = tokenizer(&["a", "b", "ab"], &[("a", "b")]);
    let rest = open(&json).unwrap().rest;
    assert_eq!(rest, r#"{"version":"1.0","added_tokens":[{"id":7,"content":"<x>"}],"decoder":null}"#);
    let text = json.to_string();
    assert_eq!(prepare(text.as_bytes()), prepare(text.as_bytes()));
    let lines = text.replace(r#"["a","b"]"#, r#""a b""#);
    assert!(
        lines != text && prepare(lines.as_bytes()) == prepare(text.as_bytes()),
        "both spellings of merges"
    );
}

#[test]
fn what_is_not_plain_is_left_to_the_library() {
    let json = tokenizer(&["a", "\"", "a\""], &[("a", "\"")]).to_string();
    assert!(prepare(json.as_bytes()).is_some());
    let edits = [
        (r#""BPE""#, r#""Unigram""#),
        (r#""type":"BPE","#, ""),
        (r#""dropout":null"#, r#""dropout":0.1"#),
        (r#""unk_token":null"#, r#""unk_token":"a""#),
        (r#""end_of_word_suffix":"""#, r#""end_of_word_suffix":"x""#),
        (r#""continuing_subword_prefix":null"#, r###""continuing_subword_prefix":"##""###),
        (r#""byte_fallback":false"#, r#""byte_fallback":true"#),
        (r#""fuse_unk":false"#, r#""later":false"#),
        (r#""a":0,"#, r#""a":1,"#),
        (r#""a":0,"#, r#""a":3,"#),
        (r#""\"":1"#, r#""a":1"#),
        (r#"["a","\""]"#, r#"["a","b"]"#),
        (r#"["a","\""]"#, r#"["b","\""]"#),
        (r#"["a","\""]"#, r#"["a","a"]"#),
        (r#"["a","\""]"#, r#"["a","\"","a"]"#),
        (r#"["a","\""]"#, r#""a  \"""#),
        (r#"["a","\""]"#, r##""#version: 1""##),
        (r#"["a","\""]"#, "1"),
        (r#","merges":[["a","\""]]"#, ""),
        (r#""decoder":null}"#, r#""decoder":null"#),
    ];
    for (from, to) in edits {
        assert!(json.contains(from), "{from}");
        assert!(prepare(json.replace(from, to).as_bytes()).is_none(), "{to}");
    }
}

#[test]
fn other_bytes_are_no_block_and_short_ones_are_refused() {
    let block = prepare(tokenizer(&["a", "b", "ab"], &[("a", "b")]).to_string().as_bytes()).unwrap();
    assert!(Prepared::open(&Bytes::from_static(b"{}")).is_none());
    assert!(Prepared::open(&Bytes::new()).is_none());
    let vocabulary = block.len() - open(&tokenizer(&["a", "b", "ab"], &[("a", "b")])).unwrap().rest.len();
    for len in 8..block.len() {
        let opened = Prepared::open(&Bytes::copy_from_slice(&block[..len])).unwrap();
        match opened {
            Ok(_) => assert!(len >= vocabulary, "{len}"),
            Err(damaged) => {
                assert!(len < vocabulary, "{len}");
                assert_eq!(damaged.found, len as u64);
            }
        }
    }
    let mut huge = block.clone();
    huge[12..28].fill(0xff);
    let damaged = Prepared::open(&Bytes::from(huge)).unwrap().err().unwrap();
    assert!(damaged.expected > 1 << 36, "{damaged}");
}

/// Any word ends, and no byte beyond the block is read, whatever stands in it.
#[test]
fn damaged_blocks_give_some_tokens_and_nothing_worse() {
    let letters: Vec<String> = ('a'..='p').map(String::from).collect();
    let both: Vec<String> = letters.iter().map(|l| format!("{l}a")).collect();
    let tokens: Vec<&str> = letters.iter().chain(&both).map(String::as_str).collect();
    let merges: Vec<(&str, &str)> = letters.iter().map(|l| (l.as_str(), "a")).collect();
    let block = prepare(tokenizer(&tokens, &merges).to_string().as_bytes()).unwrap();
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize
    };
    let mut differed = 0;
    let word = "abcabdaeafaéagpap".repeat(9);
    let good = Prepared::open(&Bytes::from(block.clone())).unwrap().unwrap().bpe.encode(&word);
    for _ in 0..3000 {
        let mut damaged = block.clone();
        for _ in 0..1 + random() % 40 {
            let at = 8 + random() % (block.len() - 8);
            damaged[at] = [0, 0xff, random() as u8][random() % 3];
        }
        if let Ok(Prepared { bpe, .. }) = Prepared::open(&Bytes::from(damaged)).unwrap() {
            let pieces = bpe.encode(&word);
            assert!(pieces.len() <= word.len());
            for piece in &pieces {
                bpe.text(piece.id);
            }
            differed += usize::from(pieces != good);
        }
    }
    assert!(differed > 100, "{differed}");
}
