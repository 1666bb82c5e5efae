//! Iteration over values.
//!
//! In: a value. Out: its items. Invariant: undefined has none, none and numbers are an error; an iterator is empty
//! afterwards.

use crate::error::{refuse, Outcome};
use crate::meter;
use crate::value::{Items, Value, View};

/// True if `iter(value)` works.
pub(crate) fn is_iterable(value: &Value) -> bool {
    use Value::*;
    matches!(
        value,
        Undefined(_) | Str(_) | List(_) | Tuple(_) | Dict(_) | Range(_) | View(..) | Iter(_) | Loop(_)
    )
}

/// The items of a value.
pub(crate) fn items(value: &Value) -> Outcome<Vec<Value>> {
    let mut items = Items::default();
    match value {
        Value::Undefined(_) => {}
        Value::Str(s) => {
            for c in s.chars() {
                items.push(Value::text(&*c.encode_utf8(&mut [0; 4]))?)?;
            }
        }
        Value::List(s) | Value::Tuple(s) => {
            meter::room(s.len() * 24)?;
            meter::spend(s.len() / 8)?;
            return Ok(s.to_vec());
        }
        Value::Dict(d) | Value::View(d, View::Keys) => {
            d.iter().try_for_each(|(key, _)| items.push(key.clone()))?;
        }
        Value::View(d, View::Values) => d.iter().try_for_each(|(_, value)| items.push(value.clone()))?,
        Value::View(d, View::Items) => {
            for (key, value) in d.iter() {
                items.push(Value::tuple(vec![key.clone(), value.clone()])?)?;
            }
        }
        Value::Range(r) => (0..r.len()).try_for_each(|i| items.push(r.get(i)))?,
        Value::Iter(iter) => return Ok(std::mem::take(&mut *iter.items.borrow_mut()).into()),
        _ => return refuse(format!("'{}' object is not iterable", value.kind())),
    }
    Ok(items.into_vec())
}
