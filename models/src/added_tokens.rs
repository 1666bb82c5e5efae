//! Tokens that only the files beside tokenizer.json list: `added_tokens_decoder` and named tokens of
//! tokenizer_config.json, added_tokens.json, special_tokens_map.json.
//!
//! In: the files' texts. Out: a tokenizer.json that has these tokens too, if there are any. Invariant: tokens, their
//! flags and ids are those that AutoTokenizer of transformers (4.57 and 5.24) makes of the same files; an id that one
//! of them states and that is not the token's is told.

use std::collections::HashSet;

use serde_json::{json, Map, Value};

use crate::error::Result;
use crate::json_fields::{self, Fields};

/// Names of tokens, in the order in which transformers adds those that are missing.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Lists of more control tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// The texts of a folder.
#[derive(Clone, Copy)]
pub(crate) struct Listed<'a> {
    /// The folder, for messages.
    pub place: &'a str,
    pub tokenizer: &'a str,
    pub tokenizer_config: Option<&'a str>,
    pub special_tokens_map: Option<&'a str>,
    pub added_tokens: Option<&'a str>,
}

/// The tokenizer.json with every token, if that is another than before, and what a person should know.
pub(crate) fn merged(texts: Listed) -> Result<(Option<String>, Vec<String>)> {
    let object = |name: &str, text: Option<&str>| {
        text.map(|text| json_fields::object(&format!("{}/{name}", texts.place), text)).transpose()
    };
    let config = object("tokenizer_config.json", texts.tokenizer_config)?.unwrap_or_default();
    // transformers reads the older files only where the config has no list.
    let older = !config.contains_key("added_tokens_decoder");
    let map =
        object("special_tokens_map.json", texts.special_tokens_map.filter(|_| older))?.unwrap_or_default();
    let added = object("added_tokens.json", texts.added_tokens.filter(|_| older))?.unwrap_or_default();
    let named = named(texts.place, &config, &map)?;
    let listed = match older {
        true => of_added(texts.place, &added, &named)?,
        false => of_decoder(texts.place, &config)?,
    };
    if listed.is_empty() && named.is_empty() {
        return Ok((None, Vec::new()));
    }
    let mut tokenizer = object("tokenizer.json", Some(texts.tokenizer))?.unwrap_or_default();
    let mut all = Tokens::of(&tokenizer);
    for (id, token) in listed {
        all.add(Some(id), token);
    }
    for token in named {
        all.name(token);
    }
    if all.changed {
        tokenizer.insert("added_tokens".to_string(), Value::Array(all.tokens));
    }
    Ok((all.changed.then(|| Value::Object(tokenizer).to_string()), all.warnings))
}

/// Tokens of a tokenizer.json while others are added.
struct Tokens {
    tokens: Vec<Value>,
    vocabulary: Map<String, Value>,
    size: u64,
    changed: bool,
    warnings: Vec<String>,
}

impl Tokens {
    fn of(tokenizer: &Map<String, Value>) -> Tokens {
        let vocabulary = tokenizer.get("model").map(|model| &model["vocab"]);
        let size = match vocabulary {
            Some(Value::Object(ids)) => ids.len(),
            Some(Value::Array(pieces)) => pieces.len(),
            _ => 0,
        };
        let ids = match vocabulary {
            Some(Value::Object(ids)) => ids.clone(),
            // A list of pairs: a piece's id is its place.
            Some(Value::Array(pieces)) => {
                let pieces = pieces.iter().zip(0u64..);
                pieces.filter_map(|(piece, id)| Some((piece[0].as_str()?.to_string(), json!(id)))).collect()
            }
            _ => Map::new(),
        };
        let tokens = tokenizer.get("added_tokens").and_then(Value::as_array).cloned().unwrap_or_default();
        Tokens { tokens, vocabulary: ids, size: size as u64, changed: false, warnings: Vec::new() }
    }

    fn place(&self, text: &str) -> Option<usize> {
        self.tokens.iter().position(|token| token["content"] == text)
    }

    /// The id that the tokenizers library gives to a new token; `None` after the last one that there is.
    fn next_id(&self, text: &str) -> Option<u64> {
        if let Some(id) = self.vocabulary.get(text).and_then(Value::as_u64) {
            return Some(id);
        }
        let last = self.tokens.iter().filter_map(|token| token["id"].as_u64()).max();
        last.filter(|&last| last >= self.size).map_or(Some(self.size), |last| last.checked_add(1))
    }

    /// Adds a token, or gives the one of this text these flags.
    fn add(&mut self, stated: Option<u64>, mut token: Map<String, Value>) {
        let text = token["content"].as_str().unwrap_or_default().to_string();
        if text.is_empty() {
            return;
        }
        let place = self.place(&text);
        let id = match place {
            Some(at) => Some(self.tokens[at]["id"].as_u64().unwrap_or_default()),
            None => self.next_id(&text),
        };
        let Some(id) = id else {
            self.warnings
                .push(format!("{text:?} is not added: a token has id {}, the last there is", u64::MAX));
            return;
        };
        if let Some(other) = stated.filter(|&stated| stated != id) {
            self.warnings
                .push(format!("{text:?} is listed with id {other}, but its id is {id}, as in transformers"));
        }
        token.insert("id".to_string(), json!(id));
        let token = Value::Object(token);
        match place {
            Some(at) if self.tokens[at] == token => return,
            Some(at) => self.tokens[at] = token,
            None => self.tokens.push(token),
        }
        self.changed = true;
    }

    /// Makes a control token of the one with this text, which is added where it is missing.
    fn name(&mut self, token: Map<String, Value>) {
        let text = token["content"].as_str().unwrap_or_default();
        match self.place(text) {
            None => self.add(None, token),
            Some(at) if self.tokens[at]["special"] != true => {
                self.tokens[at]["special"] = json!(true);
                self.changed = true;
            }
            Some(_) => {}
        }
    }
}

/// A token with all flags, in the order of a tokenizer.json.
fn token(place: &Fields, key: &str, value: &Value, special: Option<bool>) -> Result<Map<String, Value>> {
    let wrong = || place.error(key, "a text, or an object with content and flags", json_fields::shown(value));
    let text = value.as_str().or(value.get("content").and_then(Value::as_str)).ok_or_else(wrong)?;
    let flag = |name: &str, absent: bool| match value.get(name) {
        None | Some(Value::Null) => Ok(absent),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(wrong()),
    };
    let special = match special {
        Some(special) => special,
        None => flag("special", false)?,
    };
    let flags = [
        ("single_word", flag("single_word", false)?),
        ("lstrip", flag("lstrip", false)?),
        ("rstrip", flag("rstrip", false)?),
        ("normalized", flag("normalized", !special)?),
        ("special", special),
    ];
    let mut all = Map::new();
    all.insert("id".to_string(), json!(0));
    all.insert("content".to_string(), json!(text));
    all.extend(flags.into_iter().map(|(name, flag)| (name.to_string(), json!(flag))));
    Ok(all)
}

/// `added_tokens_decoder`, by id.
fn of_decoder(place: &str, config: &Map<String, Value>) -> Result<Vec<(u64, Map<String, Value>)>> {
    let file = format!("{place}/tokenizer_config.json");
    let fields = Fields { file: &file, at: "", map: config };
    let Some(list) = fields.object("added_tokens_decoder")? else { return Ok(Vec::new()) };
    let inner = Fields { file: &file, at: "added_tokens_decoder.", map: list };
    let one = |(key, value): (&String, &Value)| {
        let id = key
            .parse::<u64>()
            .map_err(|_| fields.error("added_tokens_decoder", "token ids as keys", format!("{key:?}")))?;
        Ok((id, token(&inner, key, value, None)?))
    };
    let mut all = list.iter().map(one).collect::<Result<Vec<_>>>()?;
    all.sort_by_key(|(id, _)| *id);
    Ok(all)
}

/// added_tokens.json, by id: control tokens are those that are named elsewhere.
fn of_added(
    place: &str,
    added: &Map<String, Value>,
    named: &[Map<String, Value>],
) -> Result<Vec<(u64, Map<String, Value>)>> {
    let file = format!("{place}/added_tokens.json");
    let fields = Fields { file: &file, at: "", map: added };
    let control: HashSet<&str> = named.iter().filter_map(|token| token["content"].as_str()).collect();
    let one = |(text, id): (&String, &Value)| {
        let id = id.as_u64().ok_or_else(|| fields.wrong(text, "a token id"))?;
        Ok((id, token(&fields, text, &json!(text), Some(control.contains(text.as_str())))?))
    };
    let mut all = added.iter().map(one).collect::<Result<Vec<_>>>()?;
    all.sort_by_key(|(id, _)| *id);
    Ok(all)
}

/// Named tokens and lists of control tokens: those of special_tokens_map.json, then those of the config.
fn named(
    place: &str,
    config: &Map<String, Value>,
    map: &Map<String, Value>,
) -> Result<Vec<Map<String, Value>>> {
    let files = [
        (format!("{place}/special_tokens_map.json"), map),
        (format!("{place}/tokenizer_config.json"), config),
    ];
    let mut all = Vec::new();
    for name in NAMED {
        let given = files.iter().find(|(_, map)| map.get(name).is_some_and(|value| !value.is_null()));
        if let Some((file, map)) = given {
            let fields = Fields { file, at: "", map };
            all.push(token(&fields, name, &map[name], Some(true))?);
        }
    }
    for (file, map) in &files {
        let fields = Fields { file, at: "", map };
        for name in LISTS {
            let values: Vec<&Value> = match fields.get(name) {
                None => continue,
                Some(Value::Array(items)) => items.iter().collect(),
                Some(Value::Object(items)) => items.values().collect(),
                Some(_) => return Err(fields.wrong(name, "a list of tokens, or an object of them")),
            };
            for value in values {
                all.push(token(&fields, name, value, Some(true))?);
            }
        }
        // Names of a model's own, such as image_token.
        let other = |key: &str| key.ends_with("_token") && !key.starts_with("add_") && !NAMED.contains(&key);
        for (key, value) in map.iter().filter(|(key, value)| other(key) && value.is_string()) {
            all.push(token(&fields, key, value, Some(true))?);
        }
    }
    Ok(all)
}
