//! A tokenizer.json as the PATH.tokenizer of ajc1 and QWEN version 1.
//!
//! In: the JSON, the model's rows, bos and eos. Out: the file's bytes. Invariant: what the reader makes of them is the
//! same vocabulary with the same merges; where it would not be, there is a reason in words and no file.

use std::collections::HashMap;

use serde_json::Value;

use super::beside::SIDE_HEADER;
use super::byte_level::{scored, unspelt};
use super::score_file::Token;
use super::splits;

/// The score of what no merge makes.
const UNMERGED: f32 = -1e6;

/// The bytes of the file.
pub(crate) fn side_file(tokenizer: &str, rows: u32, (bos, eos): (u32, u32)) -> Result<Vec<u8>, String> {
    let json: Value = serde_json::from_str(tokenizer).map_err(|e| e.to_string())?;
    let split = Value::from(splits::QWEN2.pattern()).to_string();
    if json["model"]["type"] != "BPE" || !json["pre_tokenizer"].to_string().contains(&split) {
        return Err("its words are not cut as Qwen's are".to_string());
    }
    if json["normalizer"]["type"] != "NFC" {
        return Err("its texts are not normalised as Qwen's are".to_string());
    }
    let tokens = tokens(&json, rows)?;
    let again = scored(&tokens).map(|v| v.tokenizer_json()).unwrap_or_default();
    let same = again["model"]["vocab"] == json["model"]["vocab"] || whole(&again) == whole(&json);
    if !same || merges(&again) != merges(&json) || named(&again) != named(&json) {
        return Err("scores alone do not tell its merges".to_string());
    }
    let longest = tokens.iter().map(|t| t.bytes.len() as u32).max().unwrap_or(0);
    let mut out: Vec<u8> = [longest, bos, eos].into_iter().flat_map(u32::to_le_bytes).collect();
    debug_assert_eq!(out.len(), SIDE_HEADER);
    for token in &tokens {
        out.extend(token.score.to_le_bytes());
        out.extend((token.bytes.len() as u32).to_le_bytes());
        out.extend(&token.bytes);
    }
    Ok(out)
}

/// Both tokens of each merge.
fn merges(json: &Value) -> Vec<(String, String)> {
    let pair = |m: &Value| match m {
        Value::String(both) => both.split_once(' ').map(|(a, b)| (a.to_string(), b.to_string())),
        both => Some((both[0].as_str()?.to_string(), both[1].as_str()?.to_string())),
    };
    json["model"]["merges"].as_array().into_iter().flatten().filter_map(pair).collect()
}

/// Id and text of each named token, by id.
fn named(json: &Value) -> Vec<(u64, &str)> {
    let token = |t: &'_ Value| Some((t["id"].as_u64()?, t["content"].as_str()?.len()));
    let all = json["added_tokens"].as_array().into_iter().flatten();
    let mut found: Vec<(u64, &str)> =
        all.filter_map(|t| token(t).map(|(id, _)| (id, t["content"].as_str().unwrap_or_default()))).collect();
    found.sort_unstable();
    found
}

/// Every token of the vocabulary, named ones too, by id.
fn whole(json: &Value) -> Vec<(u64, &str)> {
    let vocab = json["model"]["vocab"].as_object().into_iter().flatten();
    let mut all: Vec<(u64, &str)> =
        vocab.filter_map(|(text, id)| Some((id.as_u64()?, text.as_str()))).collect();
    all.extend(named(json));
    all.sort_unstable();
    all.dedup();
    all
}

/// Tokens by id, without gaps: an id that nothing has is an empty token.
fn tokens(json: &Value, rows: u32) -> Result<Vec<Token>, String> {
    let ranks: HashMap<String, usize> =
        merges(json).into_iter().enumerate().rev().map(|(rank, (a, b))| (a + &b, rank)).collect();
    let named: HashMap<u64, &str> = named(json).into_iter().collect();
    let all = whole(json);
    let count = all.last().map_or(0, |(id, _)| id + 1);
    if count > u64::from(rows) {
        return Err(format!("it has {count} tokens and the model {rows} rows"));
    }
    let empty = || Token { score: UNMERGED, bytes: Vec::new() };
    let mut tokens: Vec<Token> = (0..count).map(|_| empty()).collect();
    for (id, text) in all {
        let score = ranks.get(text).map_or(UNMERGED, |&rank| -((rank + 1) as f64).ln() as f32);
        let token = match named.get(&id) {
            Some(name) => Token { score: UNMERGED, bytes: name.as_bytes().to_vec() },
            None => {
                let bytes =
                    unspelt(text).ok_or_else(|| format!("its token {text:?} is not spelt in bytes"))?;
                Token { score, bytes }
            }
        };
        tokens[id as usize] = token;
    }
    Ok(tokens)
}
