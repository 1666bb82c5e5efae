//! A conversation to token ids, so that nothing a user writes becomes a control token.
//!
//! In: a conversation, its template, the tokenizer. Out: ids. Invariant: control tokens among the
//! ids stand where the template put them; a conversation whose texts contain no control token's
//! name gives the ids of the rendered text as a whole.
//!
//! How: in every text of the conversation a mark, a noncharacter that occurs nowhere in it, is put
//! into each control token's name. What still looks like a control token after rendering is the
//! template's own.

use std::borrow::Cow;

use serde_json::Value;

use crate::template::{ChatTemplate, Conversation};
use crate::tokenizer::{Controls, Tokenizer};
use qwenc_engine::error::{Error, Result};

/// A rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The text, as the template made it.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// A conversation as its template makes a text of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// In the text wherever it has a control token's name; none if it has none.
    mark: Option<char>,
}

/// Renders `conversation` and encodes it.
pub fn encode(template: &ChatTemplate, tokenizer: &Tokenizer, conversation: &Conversation) -> Result<Prompt> {
    render(template, tokenizer, conversation)?.encode(tokenizer)
}

/// Renders `conversation`.
pub fn render(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    conversation: &Conversation,
) -> Result<Rendered> {
    let names: Vec<&str> = tokenizer.controls().iter().map(|(name, _)| name.as_str()).collect();
    let mark = unused_mark(conversation)?;
    let mut marked = conversation.clone();
    let mut marks = 0;
    for value in marked.messages.iter_mut().chain(&mut marked.tools) {
        marks += mark_value(value, &names, mark);
    }
    Ok(Rendered { text: template.render(&marked)?, mark: (marks > 0).then_some(mark) })
}

impl Rendered {
    /// The text.
    pub fn text(&self) -> Cow<'_, str> {
        self.mark.map_or(Cow::Borrowed(&*self.text), |mark| self.text.replace(mark, "").into())
    }

    /// Text and tokens.
    pub fn encode(self, tokenizer: &Tokenizer) -> Result<Prompt> {
        let Rendered { text, mark } = self;
        let Some(mark) = mark else {
            let ids = tokenizer.encode(&text, Controls::Parsed)?;
            return Ok(Prompt { text, ids });
        };
        let mut ids = Vec::new();
        for piece in split(&text, tokenizer.controls()) {
            match piece {
                Piece::Control(id) => ids.push(id),
                Piece::Text(text) => {
                    ids.extend(tokenizer.encode(&text.replace(mark, ""), Controls::Literal)?)
                }
            }
        }
        Ok(Prompt { text: text.replace(mark, ""), ids })
    }
}

enum Piece<'t> {
    Control(u32),
    Text(&'t str),
}

/// Unicode sets these aside for use inside a program.
fn unused_mark(conversation: &Conversation) -> Result<char> {
    let values = || conversation.messages.iter().chain(&conversation.tools);
    ('\u{fdd0}'..='\u{fdef}')
        .find(|&mark| !values().any(|v| contains(v, mark)))
        .ok_or_else(|| Error::Usage("a message uses all of the noncharacters U+FDD0 to U+FDEF".into()))
}

fn contains(value: &Value, c: char) -> bool {
    match value {
        Value::String(s) => s.contains(c),
        Value::Array(items) => items.iter().any(|v| contains(v, c)),
        Value::Object(map) => map.iter().any(|(k, v)| k.contains(c) || contains(v, c)),
        _ => false,
    }
}

/// Marks every text in `value`, keys included; returns how many marks that took.
fn mark_value(value: &mut Value, names: &[&str], mark: char) -> usize {
    match value {
        Value::String(s) => {
            let (marked, n) = mark_text(s, names, mark);
            *s = marked;
            n
        }
        Value::Array(items) => items.iter_mut().map(|v| mark_value(v, names, mark)).sum(),
        Value::Object(map) => {
            let mut n = 0;
            let old = std::mem::take(map);
            for (key, mut item) in old {
                let (key, in_key) = mark_text(&key, names, mark);
                n += in_key + mark_value(&mut item, names, mark);
                map.insert(key, item);
            }
            n
        }
        _ => 0,
    }
}

/// Puts `mark` behind the first character of every name in `text`, overlapping ones included.
fn mark_text(text: &str, names: &[&str], mark: char) -> (String, usize) {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for (at, c) in text.char_indices() {
        out.push(c);
        if names.iter().any(|name| text[at..].starts_with(name)) {
            out.push(mark);
            marks += 1;
        }
    }
    (out, marks)
}

/// Cuts `text` at control tokens, the longest where several begin.
fn split<'t>(text: &'t str, controls: &[(String, u32)]) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < text.len() {
        let here = controls.iter().filter(|(name, _)| text.as_bytes()[at..].starts_with(name.as_bytes()));
        let Some((name, id)) = here.max_by_key(|(name, _)| name.len()) else {
            at += 1;
            continue;
        };
        if from < at {
            pieces.push(Piece::Text(&text[from..at]));
        }
        pieces.push(Piece::Control(*id));
        at += name.len();
        from = at;
    }
    if from < text.len() {
        pieces.push(Piece::Text(&text[from..]));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_broken_and_only_names() {
        let names = ["<|a|>", "<|ab|>"];
        assert_eq!(mark_text("x<|a|>y<|a|><", &names, '#'), ("x<#|a|>y<#|a|><".into(), 2));
        assert_eq!(mark_text("é <|a| |>", &names, '#'), ("é <|a| |>".into(), 0));
        let (nested, n) = mark_text("<|a<|ab|>b|>", &names, '#');
        assert_eq!((nested.as_str(), n), ("<|a<#|ab|>b|>", 1));
    }

    #[test]
    fn marks_reach_nested_texts_and_keys() {
        let mut v = serde_json::json!({"role": "user", "a": ["<|a|>", {"<|a|>": 1}]});
        assert_eq!(mark_value(&mut v, &["<|a|>"], '#'), 2);
        assert_eq!(v.to_string(), r#"{"role":"user","a":["<#|a|>",{"<#|a|>":1}]}"#);
    }

    #[test]
    fn the_mark_avoids_the_conversation() {
        let said = |s: &str| Conversation {
            messages: vec![serde_json::json!({"content": s})],
            ..Conversation::default()
        };
        assert_eq!(unused_mark(&said("")).unwrap(), '\u{fdd0}');
        assert_eq!(unused_mark(&said("\u{fdd0}\u{fdd1}")).unwrap(), '\u{fdd2}');
        assert!(unused_mark(&said(&('\u{fdd0}'..='\u{fdef}').collect::<String>())).is_err());
    }
}
