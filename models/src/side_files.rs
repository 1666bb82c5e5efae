//! The files beside the weights, which a model needs to read text and to converse: tokenizer.json, the
//! chat template, generation_config.json. In: their texts, from a folder or from a model.bin's metadata.
//! Out: the same, looked at just enough to warn.
//!
//! Invariant: texts are kept to the byte as their files have them. What they mean is for the runtime.

use serde_json::Value;

use crate::config::{stop_tokens, Config};
use crate::error::Result;
use crate::json_fields::{self, Fields};

/// Texts beside the weights.
#[derive(Default)]
pub(crate) struct SideFiles {
    /// tokenizer.json.
    pub tokenizer: Option<String>,
    /// Jinja source.
    pub chat_template: Option<String>,
    /// generation_config.json, as text and parsed.
    pub generation: Option<(String, Value)>,
    /// Of config and generation config, ascending.
    pub stop_tokens: Vec<u32>,
    /// Notes for a person.
    pub warnings: Vec<String>,
}

impl SideFiles {
    /// From texts; `file` is the folder or file that they came from.
    pub fn new(
        file: &str,
        config: &Config,
        tokenizer: Option<String>,
        chat_template: Option<String>,
        generation: Option<String>,
    ) -> Result<SideFiles> {
        let mut stops = config.stop_tokens.clone();
        let generation = match generation {
            None => None,
            Some(text) => {
                let name = format!("{file}: generation_config.json");
                let map = json_fields::object(&name, &text)?;
                stops.extend(stop_tokens(&Fields { file: &name, at: "", map: &map })?);
                Some((text, Value::Object(map)))
            }
        };
        if let Some(text) = &tokenizer {
            json_fields::object(&format!("{file}: tokenizer.json"), text)?;
        }
        stops.sort_unstable();
        stops.dedup();
        let mut all =
            SideFiles { tokenizer, chat_template, generation, stop_tokens: stops, warnings: Vec::new() };
        all.warn(config);
        Ok(all)
    }

    fn warn(&mut self, config: &Config) {
        let mut warn = |text: String| self.warnings.push(text);
        if self.tokenizer.is_none() {
            warn("no tokenizer.json: the model can be fed token ids only".to_string());
        }
        if self.chat_template.is_none() {
            warn("no chat template: the model can complete text, but not chat".to_string());
        }
        if self.stop_tokens.is_empty() {
            warn("no eos_token_id: generation ends only at its length limit".to_string());
        }
        for id in self.stop_tokens.iter().filter(|&&id| id >= config.dims.vocab_rows) {
            warn(format!("eos_token_id {id} is past the vocabulary's {} rows", config.dims.vocab_rows));
        }
    }
}

/// The chat template of a tokenizer_config.json: a string, or the one named `default` in a list.
pub(crate) fn template_of(file: &str, tokenizer_config: &str) -> Result<Option<String>> {
    let map = json_fields::object(file, tokenizer_config)?;
    let config = Fields { file, at: "", map: &map };
    match config.get("chat_template") {
        None => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(named)) => {
            let default = named.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
            let template = default.and_then(|t| t.get("template")).and_then(Value::as_str);
            let wanted = "a template named default in the list";
            template.map(|t| Some(t.to_string())).ok_or_else(|| config.wrong("chat_template", wanted))
        }
        Some(_) => Err(config.wrong("chat_template", "a string or a list of named templates")),
    }
}
