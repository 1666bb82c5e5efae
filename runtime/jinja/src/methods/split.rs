//! Splitting texts.
//!
//! In: a text and where to cut. Out: parts. Invariant: as Python's `split`, `rsplit` and `splitlines`: without a
//! separator, runs of whitespace separate and none stands at the ends.

use crate::error::{refuse, Outcome};
use crate::lexer::is_space;
use crate::value::{Items, Value};

/// The lines of a text, with their ends if those are kept.
pub(crate) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut from = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends =
            matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if !ends {
            continue;
        }
        let mut to = at + c.len_utf8();
        if c == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n') {
            chars.next();
            to += 1;
        }
        lines.push(&text[from..if keep_ends { to } else { at }]);
        from = to;
    }
    if from < text.len() {
        lines.push(&text[from..]);
    }
    lines
}

/// `text.split(None, most)`, or `rsplit`.
fn split_space(text: &str, most: usize, from_right: bool) -> Outcome<Vec<Value>> {
    let mut parts = Items::default();
    let mut rest = match from_right {
        false => text.trim_start_matches(is_space),
        true => text.trim_end_matches(is_space),
    };
    let mut cuts = 0;
    while !rest.is_empty() {
        let found = match from_right {
            _ if cuts == most => None,
            false => rest.find(is_space),
            true => rest.rfind(is_space).map(|at| at + rest[at..].chars().next().map_or(1, char::len_utf8)),
        };
        let Some(at) = found else { break };
        let (part, next) = match from_right {
            false => (&rest[..at], rest[at..].trim_start_matches(is_space)),
            true => (&rest[at..], rest[..at].trim_end_matches(is_space)),
        };
        parts.push(Value::text(part)?)?;
        rest = next;
        cuts += 1;
    }
    if !rest.is_empty() {
        parts.push(Value::text(rest)?)?;
    }
    let mut parts = parts.into_vec();
    if from_right {
        parts.reverse();
    }
    Ok(parts)
}

/// `text.split(separator, most)`, or `rsplit`.
pub(super) fn split(text: &str, separator: &Value, most: i64, from_right: bool) -> Outcome<Value> {
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    let separator = match separator {
        Value::None => return Value::list(split_space(text, most, from_right)?),
        Value::Str(s) if s.is_empty() => return refuse("empty separator"),
        Value::Str(s) => s,
        other => return refuse(format!("split: expected a string, found {}", other.kind())),
    };
    let mut parts = Items::default();
    if from_right {
        for part in text.rsplitn(most + 1, &**separator) {
            parts.push(Value::text(part)?)?;
        }
        let mut parts = parts.into_vec();
        parts.reverse();
        return Value::list(parts);
    }
    for part in text.splitn(most + 1, &**separator) {
        parts.push(Value::text(part)?)?;
    }
    parts.list()
}

/// `text.partition(separator)`, or `rpartition`.
pub(super) fn partition(text: &str, separator: &Value, from_right: bool) -> Outcome<Value> {
    let Value::Str(separator) = separator else { return refuse("partition: expected a string") };
    if separator.is_empty() {
        return refuse("empty separator");
    }
    let found = if from_right { text.rfind(&**separator) } else { text.find(&**separator) };
    let parts = match (found, from_right) {
        (Some(at), _) => [&text[..at], separator, &text[at + separator.len()..]],
        (None, false) => [text, "", ""],
        (None, true) => ["", "", text],
    };
    Value::tuple(parts.into_iter().map(Value::text).collect::<Outcome<_>>()?)
}
