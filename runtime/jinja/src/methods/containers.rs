//! Methods of lists, tuples, dicts, ranges and views.
//!
//! In: a value, the name of a method, arguments. Out: what Python returns. Invariant: nothing is changed.

use crate::error::{refuse, Outcome};
use crate::filters::arguments::Arguments;
use crate::value::{compare, integer, iterate, Dict, Value, View};

/// Calls a method.
pub(super) fn call(of: &Value, name: &str, mut args: Arguments) -> Outcome<Value> {
    match (of, name) {
        (Value::Dict(d), "get") => {
            let (key, default) = (args.needed(0, "key")?, args.or_none(1, "default"));
            args.done(2)?;
            Ok(d.get(&key)?.cloned().unwrap_or(default))
        }
        (Value::Dict(d), "items" | "keys" | "values") => {
            args.done(0)?;
            let view = match name {
                "items" => View::Items,
                "keys" => View::Keys,
                _ => View::Values,
            };
            Ok(Value::View(d.clone(), view))
        }
        (Value::Dict(_), "fromkeys") => {
            let (keys, value) = (args.needed(0, "iterable")?, args.or_none(1, "value"));
            args.done(2)?;
            let pairs = iterate::items(&keys)?.into_iter().map(|key| Ok((key, value.clone())));
            Ok(Value::Dict(Dict::new(pairs)?.into()))
        }
        // Equal, and not the same: but nothing can change either.
        (Value::Dict(_) | Value::List(_), "copy") => {
            args.done(0)?;
            match of {
                Value::Dict(d) => {
                    let pairs = d.iter().map(|(k, v)| Ok((k.clone(), v.clone())));
                    Ok(Value::Dict(Dict::new(pairs)?.into()))
                }
                _ => Value::list(iterate::items(of)?),
            }
        }
        (Value::View(d, _), "mapping") => {
            args.done(0)?;
            Ok(Value::Dict(d.clone()))
        }
        (_, "count") => {
            let wanted = args.needed(0, "value")?;
            args.done(1)?;
            let mut count = 0;
            for item in iterate::items(of)? {
                count += i64::from(compare::same(&item, &wanted)? || compare::equal(&item, &wanted)?);
            }
            Ok(Value::Int(count))
        }
        (_, "index") => index(of, args),
        (_, "isdisjoint") => {
            let other = args.needed(0, "other")?;
            args.done(1)?;
            for item in iterate::items(&other)? {
                if compare::contains(of, &item)? {
                    return Ok(Value::Bool(false));
                }
            }
            Ok(Value::Bool(true))
        }
        _ => refuse(format!("{}.{name} is not supported", of.kind())),
    }
}

fn index(of: &Value, mut args: Arguments) -> Outcome<Value> {
    let wanted = args.needed(0, "value")?;
    let (start, stop) = (args.take(1, "start"), args.take(2, "stop"));
    args.done(3)?;
    let items = iterate::items(of)?;
    let bound = |value: Option<Value>, absent: i64| match value {
        None => Ok(absent),
        Some(value) => {
            let at = integer::index(&value, "index")?;
            Ok(if at < 0 { at.saturating_add(items.len() as i64).max(0) } else { at })
        }
    };
    let (start, stop) = (bound(start, 0)?, bound(stop, i64::MAX)?);
    for (at, item) in items.iter().enumerate() {
        let within = at as i64 >= start && (at as i64) < stop;
        if within && (compare::same(item, &wanted)? || compare::equal(item, &wanted)?) {
            return Ok(Value::Int(at as i64));
        }
    }
    refuse("the value is not in the list")
}
