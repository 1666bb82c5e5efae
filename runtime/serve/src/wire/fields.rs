//! An object of a request, read field by field.
//!
//! In: a JSON object. Out: its fields with the types that they must have. Invariant: `null` is as if the field were not
//! there, as with OpenAI; an unknown field is refused.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// The fields that were not read yet.
pub struct Fields {
    map: Map<String, Value>,
    /// Path of this object within the request: empty, or `messages[0]`.
    path: String,
    known: Vec<&'static str>,
}

impl Fields {
    /// Fields of the request itself, or of the object at `path` in it.
    pub fn of(value: Value, path: impl Into<String>) -> Result<Fields, Refusal> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Fields { map, path, known: Vec::new() }),
            other => Err(wrong(&path, "an object", &other)),
        }
    }

    /// The name of a field within the request.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.path)
    }

    /// Any value.
    pub fn any(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.map.shift_remove(name).filter(|v| !v.is_null())
    }

    /// Whether a field is there.
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// A number within `range`.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Result<Option<f32>, Refusal> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong(&self.path(name), "a number", &value))?;
        if range.contains(&number) {
            return Ok(Some(number as f32));
        }
        let (least, most) = (range.start(), range.end());
        Err(Refusal::bad(
            self.path(name),
            format!("'{}' must be from {least} to {most}, found {number}", self.path(name)),
        ))
    }

    /// A whole number within `range`.
    pub fn whole(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let number = integer(&value).ok_or_else(|| wrong(&self.path(name), "an integer", &value))?;
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let path = self.path(name);
        let expected = match (range.start(), range.end()) {
            (least, &i64::MAX) => format!("{least} or more"),
            (least, most) => format!("from {least} to {most}"),
        };
        Err(Refusal::bad(&*path, format!("'{path}' must be {expected}, found {number}")))
    }

    /// True or false.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Refusal> {
        let value = self.any(name);
        let read = |v: Value| v.as_bool().ok_or_else(|| wrong(&self.path(name), "a boolean", &v));
        value.map(read).transpose()
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.path(name), "a string", &other)),
        }
    }

    /// A list of at most `most` values.
    pub fn list(&mut self, name: &'static str, most: usize) -> Result<Option<Vec<Value>>, Refusal> {
        let path = self.path(name);
        match self.any(name) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() <= most => Ok(Some(list)),
            Some(Value::Array(list)) => {
                let message = format!("'{path}' may have at most {most} items, found {}", list.len());
                Err(Refusal::bad(path, message))
            }
            Some(other) => Err(wrong(&path, "a list", &other)),
        }
    }

    /// An object.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Fields>, Refusal> {
        let path = self.path(name);
        self.any(name).map(|value| Fields::of(value, path)).transpose()
    }

    /// Refusal of a request that lacks a field.
    pub fn missing(&self, name: &str) -> Refusal {
        let path = self.path(name);
        Refusal::bad(&*path, format!("you must provide '{path}'")).code("missing_required_parameter")
    }

    /// Fields that say nothing to this server.
    pub fn without_effect(&mut self, names: &[&'static str]) {
        names.iter().for_each(|name| drop(self.any(name)));
    }

    /// Fields of OpenAI's that this server has no use for: null, or refused by name.
    pub fn unsupported(&mut self, names: &[&'static str]) -> Result<(), Refusal> {
        for &name in names {
            if self.any(name).is_some() {
                let path = self.path(name);
                let message =
                    format!("'{path}' is not supported by this server; leave it away, or send null");
                return Err(Refusal::bad(path, message).code("unsupported_parameter"));
            }
        }
        Ok(())
    }

    /// Refuses unknown fields.
    pub fn finish(self) -> Result<(), Refusal> {
        let Some((name, _)) = self.map.iter().next() else { return Ok(()) };
        let path = self.path(name);
        let message = format!("unknown field '{path}'; known here: {}", self.known.join(", "));
        Err(Refusal::bad(path, message).code("unknown_parameter"))
    }
}

/// A whole number, which JSON may also write as `3.0`.
pub fn integer(value: &Value) -> Option<i64> {
    // Beyond 2^53 not every whole number is a float.
    let whole = |n: &f64| n.fract() == 0.0 && n.abs() < 9e15;
    value.as_i64().or_else(|| value.as_f64().filter(whole).map(|n| n as i64))
}

/// A field of another type than it must have.
pub fn wrong(path: &str, expected: &str, found: &Value) -> Refusal {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let what = if path.is_empty() { "the request".to_owned() } else { format!("'{path}'") };
    Refusal::bad(path, format!("{what} must be {expected}, found {found}")).code("invalid_type")
}
