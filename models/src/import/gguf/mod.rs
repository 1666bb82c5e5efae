//! GGUF, versions 2 and 3: models of llama, qwen2 and qwen3.
//!
//! In: a file. Out: config, vocabulary and places of tensors. Invariant: Q8_0 and Q4_0 keep their integers and
//! scales; llama's rows of q and k, which are stored in pairs, come out in the order of transformers.

use serde_json::{json, Value};

use super::{Foreign, Import};
use crate::error::Result;
use crate::model_name;
use crate::sampling;
use crate::side_keys;
use values::{Stored, Values};

mod config;
mod overview;
mod tensors;
mod values;
mod vocabulary;

/// `GGUF`.
pub(super) const MAGIC: u32 = 0x4655_4747;

pub(super) use overview::overview;
/// Chat templates in the form of a tokenizer_config.json: the default one, and those that `tokenizer.chat_templates` names.
fn templates(values: &values::Values) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    if let Some(template) = values.text("tokenizer.chat_template")? {
        all.push(json!({"name": "default", "template": template}));
    }
    // A file without the list may have the commonest one all the same.
    let listed = values.texts("tokenizer.chat_templates")?.unwrap_or(&["tool_use"]);
    for name in listed.iter().filter(|name| **name != "default") {
        if let Some(template) = values.text(&format!("tokenizer.chat_template.{name}"))? {
            all.push(json!({"name": name, "template": template}));
        }
    }
    Ok(all)
}

pub(super) fn read(source: &Foreign) -> Result<Import> {
    let (values, mut rest) = values::read(source)?;
    let infos = tensors::infos(source, &values, &mut rest)?;
    let vocabulary = vocabulary::read(source, &values)?;
    let config = config::config(source, &values, &infos, vocabulary.stop_tokens)?;
    let parsed = source.config(&config)?;
    let weights = tensors::places(source, &infos, &parsed)?;
    let templates = templates(&values)?;
    let tokenizer_config: Option<Value> = (!templates.is_empty()).then(|| {
        json!({"chat_template": templates, "bos_token": vocabulary.bos_text, "eos_token": vocabulary.eos_text})
    });
    let tokenizer = vocabulary.tokenizer;
    let (generation, warnings) = (generation(&values), notes(source, &values)?);
    let name = name(&values);
    Ok(Import {
        name,
        config,
        tokenizer,
        tokenizer_config,
        generation,
        warnings,
        weights,
        ..Import::default()
    })
}

/// Name of the model, from `general.name`.
fn name(values: &Values) -> Option<String> {
    match values.get("general.name")? {
        Stored::Text(text) => model_name::stated(text),
        // A description is no reason to refuse a file.
        _ => None,
    }
}

/// Sampling defaults of the file, under the names of generation_config.json.
fn generation(values: &Values) -> Option<Value> {
    let keys = [
        ("temperature", "temp"),
        ("top_k", "top_k"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("repetition_penalty", "penalty_repeat"),
    ];
    sampling::of_gguf(keys.map(|(name, key)| {
        let key = format!("general.sampling.{key}");
        (name, values.json().find(|(k, _)| *k == key).map(|(_, value)| value))
    }))
}

/// Keys that are not applied; in the order of their names, as a map has none.
fn notes(source: &Foreign, values: &Values) -> Result<Vec<String>> {
    let own = values.text("general.architecture")?.unwrap_or_default();
    let mut keys: Vec<(&str, Value)> = values.json().collect();
    keys.sort_by_key(|(key, _)| *key);
    side_keys::check(("GGUF", own), &source.place, keys)
}
