//! Chat templates that are files of a checkpoint's folder.
//!
//! In: a folder. Out: the templates of additional_chat_templates by name. Invariant: the name is the file's, without
//! `.jinja`; chat_template.jinja itself is read with the other files of a known name.

use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::files;
use crate::json_fields::{self, Fields};
use crate::side_files::Named;

/// The templates of additional_chat_templates; none without such a folder.
pub(crate) fn named(dir: &Path) -> Result<Named> {
    let folder = dir.join("additional_chat_templates");
    let mut named = Named::new();
    if !folder.is_dir() {
        return Ok(named);
    }
    for entry in std::fs::read_dir(&folder).map_err(files::io(&folder, "read"))? {
        let path = entry.map_err(files::io(&folder, "read"))?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_template = path.extension().is_some_and(|extension| extension == "jinja");
        if let (Some(name), true) = (name, is_template) {
            named.extend(files::text_or_none(&path)?.map(|text| (name.to_string(), text)));
        }
    }
    Ok(named)
}

/// The template of chat_template.json, which processors of images have beside a tokenizer_config.json without one.
pub(crate) fn of_processor(dir: &Path, tokenizer_config: Option<&str>) -> Result<Option<String>> {
    let path = dir.join("chat_template.json");
    let config = dir.join("tokenizer_config.json").display().to_string();
    let config = tokenizer_config.map(|text| json_fields::object(&config, text)).transpose()?;
    if config.is_some_and(|map| map.get("chat_template").is_some_and(|template| !template.is_null())) {
        return Ok(None);
    }
    let Some(text) = files::text_or_none(&path)? else { return Ok(None) };
    let file = path.display().to_string();
    let map = json_fields::object(&file, &text)?;
    let fields = Fields { file: &file, at: "", map: &map };
    match fields.get("chat_template") {
        None => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(_) => Err(fields.wrong("chat_template", "a string")),
    }
}
