//! Typed reading of a JSON object. In: the object and the name of its file. Out: numbers, strings
//! and errors that name the field. Invariant: `null` means absent, no key stands twice, and nothing is rounded or clipped.
//!
//! It knows no field by name: those are in `config_reader.rs`, `family.rs`, `rope.rs`, `side_files.rs`,
//! `shards.rs` and the families' folders.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::strict_json;

/// One JSON object of a file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub file: &'a str,
    /// `rope_scaling.` and the like, before each field's name in messages.
    pub at: &'a str,
    pub map: &'a Map<String, Value>,
}

/// JSON text to an object.
pub(crate) fn object(file: &str, text: &str) -> Result<Map<String, Value>> {
    match strict_json::parse(file, text)? {
        Value::Object(map) => Ok(map),
        other => Err(Error::Field {
            file: file.to_string(),
            field: "the whole file".to_string(),
            expected: "an object".to_string(),
            found: shown(&other),
        }),
    }
}

/// A value for a message, cut to a readable length.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl<'a> Fields<'a> {
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The error for a field.
    pub fn wrong(&self, key: &str, expected: impl Into<String>) -> Error {
        let found = self.get(key).map_or("nothing".to_string(), shown);
        self.error(key, expected, found)
    }

    pub fn error(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::Field {
            file: self.file.to_string(),
            field: format!("{}{key}", self.at),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub fn unsupported(&self, what: impl Into<String>, supported: impl Into<String>) -> Error {
        Error::Unsupported { file: self.file.to_string(), what: what.into(), supported: supported.into() }
    }

    /// An integer of 1 to `max`, if present.
    pub fn size_or_none(&self, key: &str, max: u32) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if n >= 1 && n <= max => Ok(Some(n)),
            _ => Err(self.wrong(key, format!("an integer of 1 to {max}"))),
        }
    }

    /// An integer of 1 to `max`.
    pub fn size(&self, key: &str, max: u32) -> Result<u32> {
        let missing = || self.wrong(key, format!("an integer of 1 to {max}"));
        self.size_or_none(key, max)?.ok_or_else(missing)
    }

    /// An integer or decimal, as a finite f32 above zero.
    pub fn positive_or_none(&self, key: &str) -> Result<Option<f32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().map(|v| v as f32) {
            Some(v) if v.is_finite() && v > 0.0 => Ok(Some(v)),
            _ => Err(self.wrong(key, "a number above 0")),
        }
    }

    pub fn positive(&self, key: &str) -> Result<f32> {
        self.positive_or_none(key)?.ok_or_else(|| self.wrong(key, "a number above 0"))
    }

    pub fn flag(&self, key: &str, absent: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(absent),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.wrong(key, "a string")),
        }
    }

    pub fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_object().map(Some).ok_or_else(|| self.wrong(key, "an object")),
        }
    }

    pub fn list(&self, key: &str) -> Result<Option<&'a [Value]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.wrong(key, "a list")),
        }
    }
}
