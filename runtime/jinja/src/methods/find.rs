//! Searching in texts.
//!
//! In: a text, what to look for, and bounds in characters. Out: positions in characters, counts, yes or no. Invariant:
//! bounds mean what they mean in a slice.

use crate::error::{refuse, Outcome};
use crate::filters::arguments::Arguments;
use crate::meter;
use crate::value::{integer, Value};

/// The byte of a position in characters.
fn byte_at(text: &str, position: usize) -> usize {
    match text.is_ascii() {
        true => position.min(text.len()),
        false => text.char_indices().nth(position).map_or(text.len(), |(at, _)| at),
    }
}

/// A part of a text: its first character, and the part; none where the bounds are out of order.
fn bounded<'t>(text: &'t str, start: &Value, end: &Value) -> Outcome<Option<(usize, &'t str)>> {
    if matches!((start, end), (Value::None, Value::None)) {
        return Ok(Some((0, text)));
    }
    let length = text.chars().count() as i64;
    let bound = |value: &Value, absent: i64| match value {
        Value::None => Ok(absent),
        value => {
            let at = integer::index(value, "bounds")?;
            Ok(if at < 0 { at.saturating_add(length).max(0) } else { at })
        }
    };
    let (start, end) = (bound(start, 0)?, bound(end, length)?.min(length));
    if start > end {
        return Ok(None);
    }
    let (start, end) = (start as usize, end as usize);
    Ok(Some((start, &text[byte_at(text, start)..byte_at(text, end)])))
}

/// `find`, `rfind`, `index`, `rindex`, `count`.
pub(super) fn search(text: &str, name: &str, mut args: Arguments) -> Outcome<Value> {
    let part = args.needed(0, "sub")?;
    let (start, end) = (args.or_none(1, "start"), args.or_none(2, "end"));
    args.done(3)?;
    let Value::Str(part) = part else {
        part.defined()?;
        return refuse(format!("{name}: must be str, not {}", part.kind()));
    };
    meter::spend_bytes(text.len())?;
    let within = bounded(text, &start, &end)?;
    if name == "count" {
        let count = within.map_or(0, |(_, within)| match part.is_empty() {
            true => within.chars().count() + 1,
            false => within.matches(&*part).count(),
        });
        return Ok(Value::Int(count as i64));
    }
    let found = within.and_then(|(first, within)| {
        let at = if name.starts_with('r') { within.rfind(&*part) } else { within.find(&*part) };
        at.map(|at| (first + within[..at].chars().count()) as i64)
    });
    match found {
        Some(at) => Ok(Value::Int(at)),
        None if name.ends_with("index") => refuse("substring not found"),
        None => Ok(Value::Int(-1)),
    }
}

/// `startswith`, `endswith`.
pub(super) fn affix(text: &str, name: &str, mut args: Arguments) -> Outcome<Value> {
    let affix = args.needed(0, "prefix")?;
    let (start, end) = (args.or_none(1, "start"), args.or_none(2, "end"));
    args.done(3)?;
    let within = bounded(text, &start, &end)?;
    let matches = |affix: &Value| match affix {
        Value::Str(affix) => {
            meter::spend_bytes(affix.len())?;
            Ok(within.is_some_and(|(_, within)| match name {
                "startswith" => within.starts_with(&**affix),
                _ => within.ends_with(&**affix),
            }))
        }
        other => {
            other.defined()?;
            refuse(format!("{name}: must be str or a tuple of str, not {}", other.kind()))
        }
    };
    let Value::Tuple(affixes) = &affix else { return matches(&affix).map(Value::Bool) };
    for affix in affixes.iter() {
        if matches(affix)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
