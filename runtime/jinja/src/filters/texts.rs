//! Filters of texts, and `tojson`.
//!
//! In: a value and arguments. Out: a text. Invariant: what is no text is made one by `str`, where jinja2 does so.

use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::lexer::is_space;
use crate::meter::Writer;
use crate::methods::{self, percent};
use crate::value::json::{self, Style};
use crate::value::{integer, Dict, Value};

use super::arguments::Arguments;
use super::text;

pub(super) fn call(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    mut args: Arguments,
) -> Outcome<Value> {
    match name {
        "tojson" => to_json(interpreter, &value, args),
        "format" => format(interpreter, &value, args),
        "replace" => replace(interpreter, &value, args),
        "trim" => {
            let chars = args.or_none(0, "chars");
            args.done(1)?;
            methods::strip(&text(interpreter, &value)?, &chars, true, true)
        }
        "string" if matches!(value, Value::Str(_)) => {
            args.done(0)?;
            Ok(value)
        }
        _ => {
            args.done(0)?;
            let text = text(interpreter, &value)?;
            crate::meter::spend_bytes(text.len())?;
            match name {
                "upper" => Value::text(text.to_uppercase()),
                "lower" => Value::text(text.to_lowercase()),
                "capitalize" => Value::text(methods::capitalize(&text)),
                "title" => Value::text(title(&text)),
                "wordcount" => {
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    let words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
                    Ok(Value::Int(words.count() as i64))
                }
                _ => Value::text(text),
            }
        }
    }
}

/// Each word with a capital letter; words end at blanks, hyphens and opening brackets.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        let separates = is_space(c) || "-({[<".contains(c);
        match (begins, separates) {
            (_, true) => out.push(c),
            (true, false) => out.extend(c.to_uppercase()),
            (false, false) => out.extend(c.to_lowercase()),
        }
        begins = separates;
    }
    out
}

fn replace(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let (old, new) = (args.needed(0, "old")?, args.needed(1, "new")?);
    let count = args.or_none(2, "count");
    args.done(3)?;
    let count = match &count {
        Value::None => -1,
        count => integer::index(count, "count")?,
    };
    let (old, new) = (text(interpreter, &old)?, text(interpreter, &new)?);
    methods::replaced(&text(interpreter, value)?, &old, &new, count).and_then(Value::text)
}

fn format(interpreter: &Interpreter, value: &Value, args: Arguments) -> Outcome<Value> {
    let given = args.rest(0);
    let values = match (given.positional.is_empty(), given.keyword.is_empty()) {
        (false, false) => return refuse("format takes either positional or keyword arguments"),
        (_, true) => Value::tuple(given.positional)?,
        _ => {
            let pairs = given.keyword.into_iter().map(|(name, value)| Ok((Value::text(name)?, value)));
            Value::Dict(Dict::new(pairs)?.into())
        }
    };
    percent::format(interpreter, &text(interpreter, value)?, &values).and_then(Value::text)
}

/// `json.dumps(value, ensure_ascii=…, indent=…, separators=…, sort_keys=…)`.
fn to_json(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let ensure_ascii = args.flag(0, "ensure_ascii", false)?;
    let indent = match args.or_none(1, "indent") {
        Value::None => None,
        Value::Str(indent) => Some(indent.to_string()),
        other => {
            let mut blanks = Writer::default();
            let width = integer::index(&other, "indent")?;
            blanks.repeat(" ", usize::try_from(width).unwrap_or(0))?;
            Some(blanks.into_string())
        }
    };
    let separators = args.or_none(2, "separators");
    let sort_keys = args.flag(3, "sort_keys", false)?;
    args.done(4)?;
    let (between_items, after_key) = match &separators {
        Value::None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => match (&pair[0], &pair[1]) {
            (Value::Str(items), Value::Str(keys)) => (items.to_string(), keys.to_string()),
            _ => return refuse("tojson: separators must be strings"),
        },
        other => {
            return refuse(format!(
                "tojson: separators must be two strings, found {}",
                text(interpreter, other)?
            ))
        }
    };
    let style = Style { ensure_ascii, indent, between_items, after_key, sort_keys };
    let mut out = Writer::default();
    json::write(&mut out, value, &style, 0)?;
    Value::text(out.into_string())
}
