//! Filters of sequences.
//!
//! In: a value and arguments. Out: a value. Invariant: what is a generator in jinja2 can be walked once.

use crate::ast::Binary;
use crate::error::{refuse, Outcome};
use crate::interpreter::Interpreter;
use crate::meter::{self, Writer};
use crate::value::{integer, iterate, operators, repr, Items, Value};

use super::arguments::Arguments;
use super::Getter;

pub(super) fn call(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    args: Arguments,
) -> Outcome<Value> {
    match name {
        "join" => join(interpreter, &value, args),
        "sum" => sum(interpreter, &value, args),
        "batch" => batch(&value, args),
        "slice" => slice(&value, args),
        _ => {
            args.done(0)?;
            plain(name, &value)
        }
    }
}

/// Length of a value, whose text is counted character by character.
fn paid_length(value: &Value) -> Outcome<Option<usize>> {
    if let Value::Str(text) = value {
        meter::spend_bytes(text.len())?;
    }
    Ok(value.length())
}

/// The filters without arguments.
fn plain(name: &str, value: &Value) -> Outcome<Value> {
    match name {
        "count" | "length" => match paid_length(value)? {
            Some(length) => Ok(Value::Int(length as i64)),
            None => refuse(format!("object of type '{}' has no len()", value.kind())),
        },
        "first" => {
            let first = match value {
                Value::Iter(iter) => iter.items.borrow_mut().pop_front(),
                Value::Str(s) => s.chars().next().map(|c| Value::text(c.to_string())).transpose()?,
                _ => iterate::items(value)?.into_iter().next(),
            };
            Ok(first.unwrap_or_else(|| Value::undefined("no first item, sequence was empty")))
        }
        "last" => {
            if matches!(value, Value::Iter(_)) {
                return refuse("'generator' object is not reversible");
            }
            let last = iterate::items(value)?.pop();
            Ok(last.unwrap_or_else(|| Value::undefined("no last item, sequence was empty")))
        }
        "random" => random(value),
        "list" => Value::list(iterate::items(value)?),
        "reverse" => match value {
            Value::Str(text) => {
                meter::spend_bytes(text.len())?;
                Value::text(text.chars().rev().collect::<String>())
            }
            _ => {
                let mut items = iterate::items(value)?;
                items.reverse();
                match value {
                    // What Python cannot reverse in place it copies to a list.
                    Value::Iter(_) => Value::list(items),
                    _ => Value::iter(items, "list_reverseiterator"),
                }
            }
        },
        _ => match value {
            Value::Undefined(_) => Value::iter(Vec::new(), "generator"),
            Value::Dict(d) => Value::iter(
                d.iter().map(|(k, v)| Value::tuple(vec![k.clone(), v.clone()])).collect::<Outcome<_>>()?,
                "generator",
            ),
            _ => refuse("can only get item pairs from a mapping"),
        },
    }
}

/// A random item, by the clock.
fn random(value: &Value) -> Outcome<Value> {
    if matches!(value, Value::Iter(_) | Value::Dict(_) | Value::View(..)) || value.length().is_none() {
        return refuse(format!("random: '{}' object is not a sequence", value.kind()));
    }
    let items = iterate::items(value)?;
    if items.is_empty() {
        return Ok(Value::undefined("no random item, sequence was empty"));
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(items[since.map_or(0, |s| s.subsec_nanos() as usize) % items.len()].clone())
}

fn join(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let separator = args.take(0, "d").map_or_else(|| Value::text(""), Ok)?;
    let attribute = args.or_none(1, "attribute");
    args.done(2)?;
    let separator = repr::text(interpreter, &separator)?;
    let getter = Getter::new(&attribute, None, false)?;
    let mut out = Writer::default();
    for (i, item) in iterate::items(value)?.iter().enumerate() {
        if i > 0 {
            out.push(&separator)?;
        }
        repr::write(interpreter, &mut out, &getter.get(interpreter, item)?)?;
    }
    Value::text(out.into_string())
}

fn sum(interpreter: &Interpreter, value: &Value, mut args: Arguments) -> Outcome<Value> {
    let attribute = args.or_none(0, "attribute");
    let mut total = args.take(1, "start").unwrap_or(Value::Int(0));
    args.done(2)?;
    if matches!(total, Value::Str(_)) {
        return refuse("sum() can't sum strings");
    }
    let getter = Getter::new(&attribute, None, false)?;
    for item in iterate::items(value)? {
        total = operators::binary(interpreter, Binary::Add, &total, &getter.get(interpreter, &item)?)?;
    }
    Ok(total)
}

fn batch(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let (count, fill) = (args.needed(0, "linecount")?, args.or_none(1, "fill_with"));
    args.done(2)?;
    let count = integer::index(&count, "linecount")?;
    let mut batches = Items::default();
    let mut batch = Items::default();
    let mut length = 0;
    for item in iterate::items(value)? {
        if length == count {
            batches.push(std::mem::take(&mut batch).list()?)?;
            length = 0;
        }
        batch.push(item)?;
        length += 1;
    }
    if length > 0 {
        if !matches!(fill, Value::None) {
            for _ in length..count {
                batch.push(fill.clone())?;
            }
        }
        batches.push(batch.list()?)?;
    }
    Value::iter(batches.into_vec(), "generator")
}

fn slice(value: &Value, mut args: Arguments) -> Outcome<Value> {
    let (slices, fill) = (args.needed(0, "slices")?, args.or_none(1, "fill_with"));
    args.done(2)?;
    let slices = integer::index(&slices, "slices")?;
    let items = iterate::items(value)?;
    if slices == 0 {
        return refuse("integer division or modulo by zero");
    }
    let length = items.len() as i64;
    let (each, extra) = (length.div_euclid(slices), length.rem_euclid(slices));
    let mut out = Items::default();
    let mut at = 0usize;
    for number in 0..slices.max(0) {
        let more = each + i64::from(number < extra);
        let mut part = items[at..at + more as usize].to_vec();
        at += more as usize;
        if !matches!(fill, Value::None) && number >= extra {
            part.push(fill.clone());
        }
        out.push(Value::list(part)?)?;
    }
    Value::iter(out.into_vec(), "generator")
}
