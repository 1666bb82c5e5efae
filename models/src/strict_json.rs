//! JSON in which no object has a key twice.
//!
//! In: text. Out: a value. Invariant: of two values under one key none is taken: readers differ in which one they
//! believe, and a checker may have seen the other.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::Deserializer;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Parses a text of the file `file`.
pub(crate) fn parse(file: &str, text: &str) -> Result<Value> {
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = At { path: &[], twice: &twice }.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(source) => Err(match twice.into_inner() {
            Some(key) => Error::KeyTwice { file: file.to_string(), key },
            None => Error::Json { file: file.to_string(), source },
        }),
    }
}

/// A place in the text.
#[derive(Clone, Copy)]
struct At<'a> {
    /// Keys that lead here.
    path: &'a [&'a str],
    /// The first key that was found twice.
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> std::result::Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> std::result::Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> std::result::Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> std::result::Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> std::result::Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> std::result::Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let path = [self.path, &[key.as_str()]].concat();
            let value = from.next_value_seed(At { path: &path, ..self })?;
            if map.insert(key.clone(), value).is_some() {
                self.twice.replace(Some(path.join(": ")));
                return Err(A::Error::custom("a key twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for text in [
            r#"{"a": [1, -2, 3.5, 1e300, true, null, "é\u00e9", {"a": {"a": 18446744073709551615}}], "b": {}}"#,
            "\n[ ]\n",
            "\"x\"",
            &deep,
        ] {
            let right: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse("f", text).unwrap(), right);
        }
        for text in ["", "{", "{} x", "nan", &"[".repeat(1000)] {
            assert!(matches!(parse("f", text), Err(Error::Json { .. })), "{text}");
        }
    }

    #[test]
    fn a_key_twice_is_named_with_its_place() {
        for (text, key) in [
            (r#"{"a": 1, "b": 2, "a": 1}"#, "a"),
            (r#"{"w": {"dtype": "F32", "shape": [], "dtype": "F32"}}"#, "w: dtype"),
            (r#"{"l": [{}, {"x": {"y": 1, "\u0079": 2}}]}"#, "l: x: y"),
        ] {
            let said = parse("f.json", text).unwrap_err().to_string();
            assert_eq!(said, format!("f.json: key {key}: expected once, found twice; remove one of the two"));
        }
        assert!(parse("f", r#"[{"a": 1}, {"a": 2}]"#).is_ok());
    }
}
