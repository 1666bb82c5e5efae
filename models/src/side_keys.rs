//! Keys of the files beside the weights, and what becomes of each (`side_keys.txt`).
//!
//! In: an object of such a file. Out: notes on what is not applied, or a refusal. Invariant: a key is used, ignored for a
//! stated reason, told by name, or refused: a key that the table does not have is told too.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::json_fields::shown;

/// The table.
const TABLE: &str = include_str!("side_keys.txt");
/// Stands in the table for the name of a GGUF file's architecture.
const ARCHITECTURE: &str = "{architecture}";

/// Treatment of a key: used, ignored, warned about or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Read.
    Used,
    /// Changes no answer.
    Ignored,
    /// Told by name.
    Warned,
    /// Cannot be run right.
    Refused,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct SideKey {
    /// The key, which may end or begin with `*` for any rest.
    pub key: &'static str,
    /// Treatment of the key.
    pub treatment: Treatment,
    /// Values that are not told or refused, as JSON.
    harmless: &'static str,
    /// Why.
    pub why: &'static str,
}

/// The lines of a file, in order.
pub fn side_keys(file: &str) -> Vec<SideKey> {
    let head = format!("[{file}]");
    let lines = TABLE.lines().map(str::trim).skip_while(|line| *line != head);
    lines.skip(1).take_while(|line| !line.starts_with('[')).filter_map(SideKey::of).collect()
}

impl SideKey {
    fn of(line: &'static str) -> Option<SideKey> {
        let mut columns = line.split('|').map(str::trim);
        let (key, treatment, harmless) = (columns.next()?, columns.next()?, columns.next()?);
        let treatment = match treatment {
            "used" => Treatment::Used,
            "ignored" => Treatment::Ignored,
            "warned" => Treatment::Warned,
            "refused" => Treatment::Refused,
            _ => return None,
        };
        Some(SideKey { key, treatment, harmless, why: columns.next()? })
    }

    fn covers(&self, key: &str, architecture: &str) -> bool {
        let own = self.key.replace(ARCHITECTURE, architecture);
        match (own.strip_suffix('*'), own.strip_prefix('*')) {
            (Some(begin), _) => key.starts_with(begin),
            (None, Some(end)) => key.ends_with(end),
            (None, None) => key == own,
        }
    }

    /// Whether a value changes nothing.
    pub fn is_harmless(&self, value: &Value) -> bool {
        let same = |other: &str| match serde_json::from_str::<Value>(other) {
            Ok(other) if other.is_number() => other.as_f64() == value.as_f64(),
            Ok(other) => other == *value,
            Err(_) => false,
        };
        value.is_null() || self.harmless.split(';').filter(|text| !text.is_empty()).any(same)
    }
}

/// Notes on the keys of an object, which is of the table's `file` and stands at `place`; `architecture` is a GGUF file's.
pub(crate) fn check<'a>(
    (file, architecture): (&str, &str),
    place: &str,
    keys: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<Vec<String>> {
    let table = side_keys(file);
    let mut notes = Vec::new();
    for (key, value) in keys {
        let Some(line) = table.iter().find(|line| line.covers(key, architecture)) else {
            if !value.is_null() {
                notes.push(format!("{file}: the key {key} is unknown here and not applied"));
            }
            continue;
        };
        match line.treatment {
            Treatment::Used | Treatment::Ignored => {}
            _ if line.is_harmless(&value) => {}
            Treatment::Warned => {
                notes.push(format!("{file}: {key} {} is not applied: {}", shown(&value), line.why));
            }
            Treatment::Refused => {
                let harmless = if line.harmless.is_empty() { "models without it" } else { line.harmless };
                return Err(Error::Unsupported {
                    file: place.to_string(),
                    what: format!("{key} {}", shown(&value)),
                    supported: format!("{harmless}: {}", line.why),
                });
            }
        }
    }
    Ok(notes)
}

/// The keys of a JSON object.
pub(crate) fn of_map(map: &Map<String, Value>) -> impl Iterator<Item = (&str, Value)> {
    map.iter().map(|(key, value)| (key.as_str(), value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_every_key_is_there_once() {
        let text = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
        let lines = TABLE.lines().filter(text).count();
        let files = TABLE.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
        let all: Vec<(&str, SideKey)> =
            files.flat_map(|f| side_keys(f).into_iter().map(move |k| (f, k))).collect();
        assert_eq!(all.len(), lines);
        for (i, (file, key)) in all.iter().enumerate() {
            assert!(
                !all[..i].iter().any(|(f, k)| f == file && k.key == key.key),
                "{file}: {} twice",
                key.key
            );
            let told = matches!(key.treatment, Treatment::Used) || !key.why.is_empty();
            assert!(told, "{file}: {} is not used; say why", key.key);
            let harmless = key.harmless.split(';').filter(|text| !text.is_empty());
            harmless.for_each(|text| drop(serde_json::from_str::<Value>(text).unwrap()));
        }
    }
}
