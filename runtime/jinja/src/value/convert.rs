//! JSON as values.
//!
//! In: JSON. Out: values. Invariant: objects keep their order; null is none.

use serde_json::Value as Json;

use crate::error::Outcome;
use crate::meter;
use crate::value::{integer, Dict, Value};

/// The value of a piece of JSON.
pub(crate) fn from_json(json: &Json) -> Outcome<Value> {
    meter::stack()?;
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), ..) => Value::Int(i),
            (_, Some(u), _) => integer::value(u.into())?,
            (.., x) => Value::Float(x.unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::text(s.as_str())?,
        Json::Array(items) => Value::list(items.iter().map(from_json).collect::<Outcome<_>>()?)?,
        Json::Object(map) => {
            let pairs = map.iter().map(|(key, item)| Ok((Value::text(key.as_str())?, from_json(item)?)));
            Value::Dict(Dict::new(pairs)?.into())
        }
    })
}

/// The bytes that a piece of JSON takes, about.
pub(crate) fn size(json: &Json) -> usize {
    16 + match json {
        Json::String(s) => s.len(),
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(map) => map.iter().map(|(key, item)| key.len() + size(item)).sum(),
        _ => 0,
    }
}
