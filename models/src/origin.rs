//! Origin: content of ajc1 and QWEN version 1 files that a model.bin has no other place for.
//!
//! In: a header, files beside the model. Out: a text for the metadata, and back. Invariant: bytes come back as they
//! were; names are those of the formats, so that a forged text writes nowhere else.

use std::collections::BTreeMap;
use std::fmt;

use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Map, Value};

use crate::json_fields;

/// Ending of the vocabulary's file.
pub(crate) const TOKENIZER: &str = ".tokenizer";
/// Endings of the templates: without and with thinking; then the same after a system message.
pub(crate) const TEMPLATES: [&str; 4] =
    [".template", ".template.with-thinking", ".template.with-system", ".template.with-system-and-thinking"];

/// A header and side files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Header of an ajc1.
    pub header: Option<Vec<u8>>,
    /// By ending.
    pub files: BTreeMap<&'static str, Vec<u8>>,
}

impl Origin {
    pub fn keep(&mut self, suffix: &'static str, bytes: &[u8]) {
        self.files.insert(suffix, bytes.to_vec());
    }

    /// Origin from a text of the metadata; unknown parts are left out.
    pub fn parse(text: &str) -> Origin {
        let map = json_fields::object("origin", text).unwrap_or_default();
        let bytes = |v: &Value| BASE64_STANDARD.decode(v.as_str()?).ok();
        let mut origin = Origin { header: map.get("ajc1").and_then(bytes), ..Origin::default() };
        for suffix in TEMPLATES.into_iter().chain([TOKENIZER]) {
            if let Some(bytes) = map.get(suffix).and_then(bytes) {
                origin.files.insert(suffix, bytes);
            }
        }
        origin
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = Map::new();
        let mut add =
            |key: &str, bytes: &[u8]| map.insert(key.to_string(), json!(BASE64_STANDARD.encode(bytes)));
        self.header.iter().for_each(|header| drop(add("ajc1", header)));
        self.files.iter().for_each(|(suffix, bytes)| drop(add(suffix, bytes)));
        Value::Object(map).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_other_names_do_not() {
        let mut origin = Origin { header: Some((0..=255).collect()), ..Origin::default() };
        origin.keep(TOKENIZER, &[0, 255, 1]);
        origin.keep(TEMPLATES[3], b"%s");
        assert_eq!(Origin::parse(&origin.to_string()), origin);
        for forged in ["", "[]", "{", r#"{"../x": "AA==", ".tokenizer": 3, "ajc1": "?"}"#] {
            assert_eq!(Origin::parse(forged), Origin::default(), "{forged}");
        }
    }
}
