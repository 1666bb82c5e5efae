//! Slices.
//!
//! In: a sequence and three bounds. Out: the part between. Invariant: bounds beyond the ends and negative steps mean
//! what they mean in Python.

use crate::error::{refuse, Outcome};
use crate::meter;
use crate::value::{integer, Range, Value};

/// `value[start:stop:step]`.
pub(crate) fn slice(value: &Value, bounds: [&Value; 3]) -> Outcome<Value> {
    value.defined()?;
    if value.length().is_none() || matches!(value, Value::Dict(_) | Value::View(..) | Value::Loop(_)) {
        return refuse(format!("'{}' object has no slices", value.kind()));
    }
    let length = value.length().unwrap_or(0) as i64;
    let (start, step, count) = indices(length, bounds)?;
    meter::spend(count as usize / 8)?;
    let picked = (0..count).map(|i| (start + i * step) as usize);
    match value {
        Value::Str(text) if step == 1 => {
            meter::spend_bytes(text.len())?;
            let at = |n: i64| text.char_indices().nth(n as usize).map_or(text.len(), |(at, _)| at);
            let (from, to) = if text.is_ascii() {
                (start as usize, (start + count) as usize)
            } else {
                (at(start), at(start + count))
            };
            Value::text(if count == 0 { "" } else { &text[from..to] })
        }
        Value::Str(text) => {
            meter::room(text.len() * 4)?;
            meter::spend_bytes(text.len())?;
            let chars: Vec<char> = text.chars().collect();
            Value::text(picked.map(|i| chars[i]).collect::<String>())
        }
        Value::List(items) => {
            meter::room(count as usize * 24)?;
            Value::list(picked.map(|i| items[i].clone()).collect())
        }
        Value::Tuple(items) => {
            meter::room(count as usize * 24)?;
            Value::tuple(picked.map(|i| items[i].clone()).collect())
        }
        Value::Range(r) => {
            let at = |i: i64| r.start.saturating_add(r.step.saturating_mul(i));
            let stop = at(start.saturating_add(step.saturating_mul(count)));
            Ok(Value::Range(Range { start: at(start), stop, step: r.step.saturating_mul(step) }))
        }
        _ => refuse(format!("'{}' object has no slices", value.kind())),
    }
}

/// The first index, the step and the number of items.
fn indices(length: i64, bounds: [&Value; 3]) -> Outcome<(i64, i64, i64)> {
    let bound = |i: usize| match bounds[i] {
        Value::None => Ok(None),
        value => integer::index(value, "slice").map(Some),
    };
    let step = bound(2)?.unwrap_or(1);
    if step == 0 {
        return refuse("slice step cannot be zero");
    }
    let step = step.clamp(-(1 << 40), 1 << 40);
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |i: i64| if i < 0 { i.saturating_add(length).max(low) } else { i.min(high) };
    let start = bound(0)?.map_or(if step > 0 { low } else { high }, clamp);
    let stop = bound(1)?.map_or(if step > 0 { high } else { low }, clamp);
    let count = match step > 0 {
        true => (stop - start + step - 1).div_euclid(step),
        false => (start - stop - step - 1).div_euclid(-step),
    };
    Ok((start, step, count.max(0)))
}
