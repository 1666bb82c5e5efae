//! Files of sentence-transformers beside an embedding model: modules.json, the pooling, prompts.
//!
//! In: a folder. Out: notes for a person, or a refusal. Invariant: vectors are the last token's, of length 1; a
//! checkpoint whose own are made in another way is refused by name.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::files;
use crate::json_fields::{self, Fields};

/// Modules whose work this program does.
const KNOWN: [&str; 3] = ["Transformer", "Pooling", "Normalize"];
/// The only way to pool that is known here.
const LAST: &str = "lasttoken";

/// Notes on the files of an embedding model; none where there is no modules.json.
pub(crate) fn notes(dir: &Path) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let path = dir.join("modules.json");
    let Some(text) = files::text_or_none(&path)? else { return Ok(notes) };
    let file = path.display().to_string();
    // A list at the top: made an object, so that it is read as all files are.
    let map = json_fields::object(&file, &format!("{{\"modules\":{text}}}"))?;
    let fields = Fields { file: &file, at: "", map: &map };
    let mut kinds = Vec::new();
    for module in fields.list("modules")?.unwrap_or_default() {
        let kind = module["type"].as_str().and_then(|t| t.rsplit('.').next()).unwrap_or_default();
        if !KNOWN.contains(&kind) {
            return Err(fields.unsupported(format!("module {kind:?}"), "Transformer, Pooling, Normalize"));
        }
        if kind == "Pooling" {
            pooling(dir, &fields, module)?;
        }
        kinds.push(kind);
    }
    if !kinds.contains(&"Normalize") {
        notes
            .push("modules.json has no Normalize: vectors of `embed` have length 1 all the same".to_string());
    }
    prompts(dir, &mut notes)?;
    Ok(notes)
}

/// Refuses another pooling than the last token's.
fn pooling(dir: &Path, modules: &Fields, module: &Value) -> Result<()> {
    let folder = module["path"].as_str().unwrap_or_default();
    if Path::new(folder).file_name().is_none_or(|name| name != folder) {
        return Err(modules.error("path", "the name of a folder", json_fields::shown(&module["path"])));
    }
    let path = dir.join(folder).join("config.json");
    let supported = "the last token's: pooling_mode_lasttoken";
    let Some(text) = files::text_or_none(&path)? else {
        return Err(modules.unsupported(format!("a pooling without {folder}/config.json"), supported));
    };
    let file = path.display().to_string();
    let map = json_fields::object(&file, &text)?;
    let fields = Fields { file: &file, at: "", map: &map };
    for (key, value) in map.iter().filter(|(key, _)| key.starts_with("pooling_mode")) {
        let last = match value {
            Value::Bool(wanted) => !wanted || key.ends_with(LAST),
            Value::String(name) => name == LAST,
            _ => true,
        };
        if !last {
            return Err(fields.unsupported(format!("{key} {value}"), supported));
        }
    }
    // Without a stated mode the library takes the mean.
    let is_stated = |(key, value): (&String, &Value)| {
        key.starts_with("pooling_mode") && (value == true && key.ends_with(LAST) || value == LAST)
    };
    if !map.iter().any(is_stated) {
        return Err(fields.unsupported("no stated pooling_mode".to_string(), supported));
    }
    match map.get("include_prompt") {
        Some(Value::Bool(false)) => Err(fields.unsupported("include_prompt false", "true")),
        _ => Ok(()),
    }
}

fn prompts(dir: &Path, notes: &mut Vec<String>) -> Result<()> {
    let path = dir.join("config_sentence_transformers.json");
    if let Some(text) = files::text_or_none(&path)? {
        let file = path.display().to_string();
        let map = json_fields::object(&file, &text)?;
        let fields = Fields { file: &file, at: "", map: &map };
        if let Some(name) = fields.text("default_prompt_name")? {
            notes.push(format!(
                "config_sentence_transformers.json: the prompt {name:?} is not put before texts: write it there"
            ));
        }
    }
    let path = dir.join("sentence_bert_config.json");
    if let Some(text) = files::text_or_none(&path)? {
        let file = path.display().to_string();
        let map = json_fields::object(&file, &text)?;
        let fields = Fields { file: &file, at: "", map: &map };
        if fields.flag("do_lower_case", false)? {
            return Err(fields.unsupported("do_lower_case true", "false"));
        }
    }
    Ok(())
}
