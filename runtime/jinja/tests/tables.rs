//! The engine beside jinja2: the same snippets and templates, the same text.
//!
//! In: `data/*.json`, made with jinja2 by `data/make_tables.py`. Out: nothing. Invariant: byte for byte, and an error
//! exactly where jinja2 has one.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use qwenc_jinja::{Fault, Template};
use serde_json::{Map, Value};

fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&data(name)).unwrap()
}

fn render(source: &str, variables: &Map<String, Value>) -> Result<String, Fault> {
    Template::parse(source)?.render(variables)
}

/// Counts the differences; each is printed.
fn differences(rows: impl Iterator<Item = (String, Result<String, Fault>, Option<String>)>) -> usize {
    let mut wrong = 0;
    for (label, found, expected) in rows {
        let same = match (&found, &expected) {
            (Ok(found), Some(expected)) => found == expected,
            (Err(Fault::Limit(_)), _) => false,
            (found, expected) => found.is_err() == expected.is_none(),
        };
        if !same {
            wrong += 1;
            println!("{label}\n  expected {expected:?}\n  found    {found:?}");
        }
    }
    wrong
}

#[test]
fn expressions_render_as_in_jinja2() {
    let variables = json("variables.json").as_object().unwrap().clone();
    let rows = json("expressions.json").as_array().unwrap().clone();
    assert!(rows.len() > 1200, "{}", rows.len());
    let wrong = differences(rows.iter().map(|row| {
        let source = row[0].as_str().unwrap();
        (source.to_string(), render(source, &variables), row[1].as_str().map(str::to_string))
    }));
    assert_eq!(wrong, 0, "snippets differ");
}

#[test]
fn published_templates_render_as_in_jinja2() {
    let conversations = json("conversations.json");
    let rows = json("templates.json").as_array().unwrap().clone();
    assert!(rows.len() >= 95, "{}", rows.len());
    let wrong = differences(rows.iter().map(|row| {
        let (template, name) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        let mut variables = Map::new();
        for (name, value) in [("tools", Value::Null), ("documents", Value::Null)] {
            variables.insert(name.into(), value);
        }
        variables.insert("bos_token".into(), "<s>".into());
        variables.insert("eos_token".into(), "</s>".into());
        variables.extend(conversations[name].as_object().unwrap().clone());
        let found = render(&data(&format!("templates/{template}")), &variables);
        (format!("{template} with {name}"), found, row[2].as_str().map(str::to_string))
    }));
    assert_eq!(wrong, 0, "renderings differ");
}
