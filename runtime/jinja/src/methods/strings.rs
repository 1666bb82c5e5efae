//! Methods of texts.
//!
//! In: a text, the name of a method, arguments. Out: what Python returns. Invariant: texts grow only within the limits.

use super::{cases, find, split};
use crate::error::{refuse, Outcome};
use crate::filters::arguments::Arguments;
use crate::lexer::is_space;
use crate::meter::{self, Writer};
use crate::value::{integer, iterate, Value};

/// Calls a method.
pub(super) fn call(text: &str, name: &str, mut args: Arguments) -> Outcome<Value> {
    meter::spend_bytes(text.len())?;
    match name {
        "find" | "rfind" | "index" | "rindex" | "count" => find::search(text, name, args),
        "startswith" | "endswith" => find::affix(text, name, args),
        "strip" | "lstrip" | "rstrip" => {
            let chars = args.or_none(0, "chars");
            args.done(1)?;
            strip(text, &chars, name != "rstrip", name != "lstrip")
        }
        "split" | "rsplit" => {
            let (separator, most) = (args.or_none(0, "sep"), args.integer(1, "maxsplit", -1)?);
            args.done(2)?;
            split::split(text, &separator, most, name == "rsplit")
        }
        "splitlines" => {
            let keep = args.flag(0, "keepends", false)?;
            args.done(1)?;
            Value::list(split::lines(text, keep).into_iter().map(Value::text).collect::<Outcome<_>>()?)
        }
        "partition" | "rpartition" => {
            let separator = args.needed(0, "sep")?;
            args.done(1)?;
            split::partition(text, &separator, name == "rpartition")
        }
        "join" => join(text, args),
        "replace" => replace(text, args),
        "removeprefix" | "removesuffix" => {
            let affix = args.text(0, "affix")?;
            args.done(1)?;
            let cut =
                if name == "removeprefix" { text.strip_prefix(&*affix) } else { text.strip_suffix(&*affix) };
            Value::text(cut.unwrap_or(text))
        }
        "center" | "ljust" | "rjust" => justify(text, name, args),
        "zfill" => zfill(text, args),
        "expandtabs" => expand_tabs(text, args),
        "encode" | "translate" | "maketrans" => refuse(format!("str.{name} is not supported")),
        _ => {
            args.done(0)?;
            plain(text, name)
        }
    }
}

/// The methods without arguments.
fn plain(text: &str, name: &str) -> Outcome<Value> {
    if let Some(is) = cases::is(text, name) {
        return Ok(Value::Bool(is));
    }
    Value::text(match name {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "title" => cases::title(text),
        "capitalize" => cases::capitalize(text),
        "swapcase" => cases::swap(text),
        "casefold" => cases::fold(text),
        _ => return refuse(format!("str.{name} is not supported")),
    })
}

/// `text.strip(chars)`, at one or both ends.
pub(crate) fn strip(text: &str, chars: &Value, left: bool, right: bool) -> Outcome<Value> {
    let stripped = |kind: &dyn Fn(char) -> bool| {
        let text = if left { text.trim_start_matches(kind) } else { text };
        if right { text.trim_end_matches(kind) } else { text }.to_string()
    };
    match chars {
        Value::None => Value::text(stripped(&is_space)),
        Value::Str(chars) => {
            meter::spend(text.len().saturating_mul(chars.len()) / 256)?;
            Value::text(stripped(&|c| chars.contains(c)))
        }
        other => {
            other.defined()?;
            refuse(format!("strip: must be None or str, not {}", other.kind()))
        }
    }
}

fn join(separator: &str, mut args: Arguments) -> Outcome<Value> {
    let items = args.needed(0, "iterable")?;
    args.done(1)?;
    let mut out = Writer::default();
    for (i, item) in iterate::items(&items)?.iter().enumerate() {
        if i > 0 {
            out.push(separator)?;
        }
        match item {
            Value::Str(item) => out.push(item)?,
            other => return refuse(format!("sequence item {i}: expected str, {} found", other.kind())),
        }
    }
    Value::text(out.into_string())
}

fn replace(text: &str, mut args: Arguments) -> Outcome<Value> {
    let (old, new) = (args.text(0, "old")?, args.text(1, "new")?);
    let count = args.integer(2, "count", -1)?;
    args.done(3)?;
    replaced(text, &old, &new, count).and_then(Value::text)
}

/// `text.replace(old, new, count)`.
pub(crate) fn replaced(text: &str, old: &str, new: &str, count: i64) -> Outcome<String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut out = Writer::default();
    let mut last = 0;
    for (at, found) in text.match_indices(old).take(count) {
        out.push(&text[last..at])?;
        out.push(new)?;
        last = at + found.len();
    }
    out.push(&text[last..])?;
    Ok(out.into_string())
}

fn justify(text: &str, name: &str, mut args: Arguments) -> Outcome<Value> {
    let width = args.needed(0, "width")?;
    let width = integer::index(&width, "width")?;
    let fill = args.take(1, "fillchar");
    args.done(2)?;
    let fill = match &fill {
        None => " ",
        Some(Value::Str(fill)) if fill.chars().count() == 1 => &**fill,
        Some(_) => return refuse("the fill character must be exactly one character long"),
    };
    match name {
        "center" => center(text, width, fill),
        _ => {
            let padding = padding(text, width);
            let (left, right) = if name == "ljust" { (0, padding) } else { (padding, 0) };
            padded(text, fill, left, right)
        }
    }
}

fn padding(text: &str, width: i64) -> usize {
    usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count())
}

fn padded(text: &str, fill: &str, left: usize, right: usize) -> Outcome<Value> {
    let mut out = Writer::default();
    out.repeat(fill, left)?;
    out.push(text)?;
    out.repeat(fill, right)?;
    Value::text(out.into_string())
}

/// `text.center(width, fill)`.
pub(crate) fn center(text: &str, width: i64, fill: &str) -> Outcome<Value> {
    let padding = padding(text, width);
    let left = padding / 2 + (padding & usize::try_from(width).unwrap_or(0) & 1);
    padded(text, fill, left, padding - left)
}

fn zfill(text: &str, mut args: Arguments) -> Outcome<Value> {
    let width = args.needed(0, "width")?;
    let width = integer::index(&width, "width")?;
    args.done(1)?;
    let sign = usize::from(text.starts_with(['+', '-']));
    let mut out = Writer::default();
    out.push(&text[..sign])?;
    out.repeat("0", padding(text, width))?;
    out.push(&text[sign..])?;
    Value::text(out.into_string())
}

fn expand_tabs(text: &str, mut args: Arguments) -> Outcome<Value> {
    let size = usize::try_from(args.integer(0, "tabsize", 8)?).unwrap_or(0);
    args.done(1)?;
    let mut out = Writer::default();
    let mut column = 0usize;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let blanks = size - column % size;
                out.repeat(" ", blanks)?;
                column += blanks;
            }
            '\t' => {}
            c => {
                out.push_char(c)?;
                column = if c == '\n' || c == '\r' { 0 } else { column + 1 };
            }
        }
    }
    Value::text(out.into_string())
}
