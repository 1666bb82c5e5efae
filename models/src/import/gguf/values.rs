//! The keys and values at the start of a GGUF file.
//!
//! In: a file. Out: values by key, and where the list of tensors begins. Invariant: no count is believed: each item
//! takes bytes, and a list is no longer than the bytes that are left. Keys are read in their own type and no other.

use std::collections::HashMap;

use serde_json::Value;

use super::super::Foreign;
use crate::error::{Error, Result};

/// Longest list that is read, several times what any vocabulary needs.
const LONGEST_LIST: u64 = 1 << 24;

/// A value as stored; integers of all widths alike.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::import) enum Stored<'a> {
    Integer(i128),
    Float(f64),
    Flag(bool),
    Text(&'a str),
    Integers(Vec<i128>),
    Floats(Vec<f64>),
    Flags(Vec<bool>),
    Texts(Vec<&'a str>),
}

/// Bytes that are still to be read.
pub(in crate::import) struct Rest<'a> {
    pub source: &'a Foreign<'a>,
    pub at: usize,
}

impl<'a> Rest<'a> {
    pub fn take(&mut self, bytes: u64, what: &str) -> Result<&'a [u8]> {
        let end = usize::try_from(bytes).ok().and_then(|n| self.at.checked_add(n));
        let taken = end.and_then(|end| self.source.map.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            let left = self.source.map.len() - self.at;
            self.source.wrong(what, format!("{bytes} bytes at offset {}", self.at), format!("{left} bytes"))
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    pub fn unsigned(&mut self, bytes: u64, what: &str) -> Result<u64> {
        let taken = self.take(bytes, what)?;
        Ok(taken.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    /// A count of items that take at least `each` bytes.
    pub fn count(&mut self, each: u64, what: &str) -> Result<u64> {
        let count = self.unsigned(8, what)?;
        let most = (self.source.map.len() - self.at) as u64 / each;
        match count <= most {
            true => Ok(count),
            false => Err(self.source.wrong(
                what,
                format!("at most {most}, as many as the file has room for"),
                count,
            )),
        }
    }

    pub fn text(&mut self, what: &str) -> Result<&'a str> {
        let length = self.unsigned(8, what)?;
        let start = self.at;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map_err(|e| Error::NotText { file: self.source.place.clone(), offset: start + e.valid_up_to() })
    }

    fn scalar(&mut self, kind: u32, key: &str) -> Result<Stored<'a>> {
        let bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => return self.text(key).map(Stored::Text),
            _ => {
                return Err(self.source.wrong(&format!("{key}: type"), "0 to 12, and no list of lists", kind))
            }
        };
        let raw = self.unsigned(bytes, key)?;
        Ok(match kind {
            1 => Stored::Integer(i128::from(raw as u8 as i8)),
            3 => Stored::Integer(i128::from(raw as u16 as i16)),
            5 => Stored::Integer(i128::from(raw as u32 as i32)),
            11 => Stored::Integer(i128::from(raw as i64)),
            6 => Stored::Float(f64::from(f32::from_bits(raw as u32))),
            12 => Stored::Float(f64::from_bits(raw)),
            7 => Stored::Flag(raw != 0),
            _ => Stored::Integer(i128::from(raw)),
        })
    }

    fn value(&mut self, key: &str) -> Result<Stored<'a>> {
        match self.unsigned(4, key)? as u32 {
            9 => self.list(key),
            kind => self.scalar(kind, key),
        }
    }

    fn list(&mut self, key: &str) -> Result<Stored<'a>> {
        let kind = self.unsigned(4, key)? as u32;
        let each = match kind {
            8 | 10..=12 => 8,
            4..=6 => 4,
            2 | 3 => 2,
            _ => 1,
        };
        let count = self.count(each, key)?;
        if count > LONGEST_LIST {
            return Err(self.source.wrong(key, format!("a list of at most {LONGEST_LIST}"), count));
        }
        let mut list = match kind {
            8 => Stored::Texts(Vec::new()),
            7 => Stored::Flags(Vec::new()),
            6 | 12 => Stored::Floats(Vec::new()),
            _ => Stored::Integers(Vec::new()),
        };
        for _ in 0..count {
            match (&mut list, self.scalar(kind, key)?) {
                (Stored::Texts(all), Stored::Text(one)) => all.push(one),
                (Stored::Flags(all), Stored::Flag(one)) => all.push(one),
                (Stored::Floats(all), Stored::Float(one)) => all.push(one),
                (Stored::Integers(all), Stored::Integer(one)) => all.push(one),
                // `scalar` gives what the kind says.
                _ => {}
            }
        }
        Ok(list)
    }
}

/// Values by key.
pub(in crate::import) struct Values<'a> {
    pub source: &'a Foreign<'a>,
    map: HashMap<&'a str, Stored<'a>>,
    /// Tensors that the header announces.
    pub tensors: u64,
}

/// Bytes that no key and value, no tensor's entry, can be below.
const SMALLEST: u64 = 13;

/// Header and values; the rest begins at the tensors.
pub(super) fn read<'a>(source: &'a Foreign<'a>) -> Result<(Values<'a>, Rest<'a>)> {
    let mut rest = Rest { source, at: 4 };
    let version = rest.unsigned(4, "version")?;
    if !(2..=3).contains(&version) {
        return Err(source.unsupported(format!("GGUF version {version}"), "2, 3 (little-endian)"));
    }
    let tensors = rest.count(1, "number of tensors")?;
    let count = rest.count(SMALLEST, "number of keys")?;
    let mut map = HashMap::new();
    for i in 0..count {
        let key = rest.text(&format!("key {i}"))?;
        let value = rest.value(key)?;
        if map.insert(key, value).is_some() {
            return Err(source.wrong(key, "one value", "two"));
        }
    }
    Ok((Values { source, map, tensors }, rest))
}

impl<'a> Values<'a> {
    /// Every key with its value as JSON; a list is an empty one, since only its being there is asked for.
    pub fn json(&self) -> impl Iterator<Item = (&'a str, Value)> + '_ {
        self.map.iter().map(|(key, value)| {
            let value = match value {
                Stored::Integer(n) => i64::try_from(*n).map_or(Value::Null, Value::from),
                Stored::Float(v) => Value::from(*v),
                Stored::Flag(flag) => Value::from(*flag),
                Stored::Text(text) => Value::from(*text),
                _ => Value::Array(Vec::new()),
            };
            (*key, value)
        })
    }

    pub fn get(&self, key: &str) -> Option<&Stored<'a>> {
        self.map.get(key)
    }

    fn wrong(&self, key: &str, expected: &str, found: &Stored) -> Error {
        let mut text = format!("{found:?}");
        if let Some((end, _)) = text.char_indices().nth(60) {
            text.truncate(end);
        }
        self.source.wrong(key, expected, text)
    }

    /// The error for a key that must be there.
    pub fn missing(&self, key: &str, expected: &str) -> Error {
        self.source.wrong(key, expected, "nothing")
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Stored::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a text", other)),
        }
    }

    pub fn flag(&self, key: &str, absent: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(absent),
            Some(Stored::Flag(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        let wrong = |other| self.wrong(key, "an integer of 0 to 4294967295", other);
        match self.get(key) {
            None => Ok(None),
            Some(found @ Stored::Integer(n)) => u32::try_from(*n).map(Some).map_err(|_| wrong(found)),
            Some(other) => Err(wrong(other)),
        }
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Stored::Float(v)) if v.is_finite() => Ok(Some(*v)),
            Some(other) => Err(self.wrong(key, "a finite number", other)),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Option<&[&'a str]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Stored::Texts(all)) => Ok(Some(all)),
            Some(other) => Err(self.wrong(key, "a list of texts", other)),
        }
    }

    pub fn integers(&self, key: &str) -> Result<Option<&[i128]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Stored::Integers(all)) => Ok(Some(all)),
            Some(other) => Err(self.wrong(key, "a list of integers", other)),
        }
    }

    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Stored::Floats(all)) if all.iter().all(|v| v.is_finite()) => Ok(Some(all)),
            Some(other) => Err(self.wrong(key, "a list of finite numbers", other)),
        }
    }
}
