//! Filters of HTML and URLs.
//!
//! In: a value and arguments. Out: a text. Invariant: nothing is escaped unless a filter is asked to.

use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::lexer::is_space;
use crate::meter::Writer;
use crate::value::{iterate, Text, Value};

use super::arguments::Arguments;
use super::text;

pub(super) fn call(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    args: Arguments,
) -> Outcome<Value> {
    match name {
        "xmlattr" => attributes(interpreter, &value, args),
        "urlize" => refuse("the filter urlize is not supported: a prompt has no links"),
        _ => {
            args.done(0)?;
            let is_safe = matches!(&value, Value::Str(text) if text.is_safe());
            match name {
                "escape" | "e" if is_safe => Ok(value),
                "safe" => Ok(Value::Str(Text::safe(text(interpreter, &value)?)?)),
                "striptags" => Value::text(strip_tags(&text(interpreter, &value)?)),
                "urlencode" => url_encode(interpreter, &value),
                _ => Ok(Value::Str(Text::safe(escaped(&text(interpreter, &value)?)?)?)),
            }
        }
    }
}

/// `markupsafe.escape`.
pub(crate) fn escaped(text: &str) -> Outcome<String> {
    let mut out = Writer::default();
    for c in text.chars() {
        match c {
            '&' => out.push("&amp;")?,
            '<' => out.push("&lt;")?,
            '>' => out.push("&gt;")?,
            '\'' => out.push("&#39;")?,
            '"' => out.push("&#34;")?,
            c => out.push_char(c)?,
        }
    }
    Ok(out.into_string())
}

fn attributes(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let autospace = args.flag(0, "autospace", true)?;
    args.done(1)?;
    value.defined()?;
    let Value::Dict(dict) = value else { return refuse("xmlattr: expected a mapping") };
    let mut out = Writer::default();
    for (key, value) in dict.iter() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let Value::Str(key) = key else { return refuse("xmlattr: attribute names must be strings") };
        if key.chars().any(|c| c.is_ascii() && is_space(c) || "/>=".contains(c)) {
            return refuse(format!("invalid character in attribute name: '{}'", &**key));
        }
        if autospace || out.len() > 0 {
            out.push(" ")?;
        }
        let value = match value {
            Value::Str(text) if text.is_safe() => text.to_string(),
            other => escaped(&text(interpreter, other)?)?,
        };
        out.push(&format!("{}=\"{value}\"", escaped(key)?))?;
    }
    Value::text(out.into_string())
}

/// Without comments and tags, with single blanks and the commonest entities as characters.
fn strip_tags(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("<!--") {
        let Some(end) = rest[at..].find("-->") else { break };
        plain.push_str(&rest[..at]);
        rest = &rest[at + end + 3..];
    }
    plain.push_str(rest);
    let mut out = String::new();
    let mut rest = plain.as_str();
    while let Some(at) = rest.find('<') {
        let Some(end) = rest[at..].find('>') else { break };
        out.push_str(&rest[..at]);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    let words: Vec<&str> = out.split(is_space).filter(|word| !word.is_empty()).collect();
    unescaped(&words.join(" "))
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(at, _)| at);
        let found = end.and_then(|end| {
            let name = &rest[1..end];
            let number =
                |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
            let c = match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                "nbsp" => Some('\u{a0}'),
                _ => match name.strip_prefix("#x").or(name.strip_prefix("#X")) {
                    Some(hex) => number(hex, 16),
                    None => name.strip_prefix('#').and_then(|digits| number(digits, 10)),
                },
            };
            c.map(|c| (c, end + 1))
        });
        let (c, length) = found.unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// `urllib.parse.quote`; in a query, blanks are `+` and slashes are quoted.
fn quoted(text: &str, query: bool) -> Outcome<String> {
    let mut out = Writer::default();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "_.-~".contains(c) || c == '/' && !query {
            out.push_char(c)?;
        } else if c == ' ' && query {
            out.push("+")?;
        } else {
            out.push(&format!("%{byte:02X}"))?;
        }
    }
    Ok(out.into_string())
}

fn url_encode(interpreter: &Interpreter, value: &Value) -> Outcome<Value> {
    if matches!(value, Value::Str(_)) || !iterate::is_iterable(value) {
        return Value::text(quoted(&text(interpreter, value)?, false)?);
    }
    let pairs = match value {
        Value::Dict(d) => d.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        _ => {
            let mut pairs = Vec::new();
            for pair in iterate::items(value)? {
                match &iterate::items(&pair)?[..] {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return refuse("urlencode: expected pairs"),
                }
            }
            pairs
        }
    };
    let mut out = Writer::default();
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push("&")?;
        }
        out.push(&quoted(&text(interpreter, key)?, true)?)?;
        out.push("=")?;
        out.push(&quoted(&text(interpreter, value)?, true)?)?;
    }
    Value::text(out.into_string())
}
