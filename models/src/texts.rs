//! The text files of a checkpoint: what stands beside its weights.
//!
//! In: a folder. Out: its texts, tokenizer.json with every token that another file lists. Invariant: what is not applied is
//! noted by name; a text that needs no change is kept to the byte.

use std::path::Path;

use serde_json::{json, Value};

use crate::added_tokens::{self, Listed};
use crate::error::Result;
use crate::files;
use crate::json_fields;
use crate::pooling;
use crate::side_files::Named;
use crate::side_keys;
use crate::template_files;

/// The text files of a checkpoint.
#[derive(Default)]
pub(crate) struct Texts {
    /// Name of the model.
    pub name: Option<String>,
    pub config: String,
    pub tokenizer: Option<String>,
    pub tokenizer_config: Option<String>,
    pub chat_template: Option<String>,
    /// Those of additional_chat_templates.
    pub named_templates: Named,
    pub generation: Option<String>,
    pub special_tokens_map: Option<String>,
    pub added_tokens: Option<String>,
    /// Notes of the reader.
    pub warnings: Vec<String>,
    /// Facts of an old format that have no other place, as JSON (`migrate` reads them).
    pub origin: Option<String>,
}

impl Texts {
    /// Those of a folder, whose config.json is `config`.
    pub fn of_folder(dir: &Path, config: String) -> Result<Texts> {
        let text = |name: &str| files::text_or_none(&dir.join(name));
        let tokenizer_config = text("tokenizer_config.json")?;
        let mut named_templates = template_files::named(dir)?;
        // A file named default.jinja is the default one where chat_template.jinja is not there.
        let default = named_templates.remove("default");
        let own = text("chat_template.jinja")?.or(default);
        let chat_template = match own.is_none() && named_templates.is_empty() {
            true => template_files::of_processor(dir, tokenizer_config.as_deref())?,
            false => own,
        };
        Ok(Texts {
            name: None,
            config,
            tokenizer: text("tokenizer.json")?,
            tokenizer_config,
            chat_template,
            named_templates,
            generation: text("generation_config.json")?,
            special_tokens_map: text("special_tokens_map.json")?,
            added_tokens: text("added_tokens.json")?,
            warnings: pooling::notes(dir)?,
            origin: None,
        })
    }

    /// Adds to tokenizer.json the tokens that only other files list, and notes what of them is not applied.
    pub fn read_tokens(&mut self, place: &str) -> Result<()> {
        let (tokenizer, map) = ("tokenizer.json", "special_tokens_map.json");
        let named = [
            (tokenizer, &self.tokenizer),
            ("tokenizer_config.json", &self.tokenizer_config),
            (map, &self.special_tokens_map),
        ];
        for (name, text) in named {
            let file = format!("{place}/{name}");
            let Some(object) = text.as_ref().map(|text| json_fields::object(&file, text)).transpose()? else {
                continue;
            };
            let model = object.get("model").and_then(Value::as_object).filter(|_| name == tokenizer);
            let inner = model.into_iter().flatten().map(|(key, value)| (format!("model.{key}"), value));
            // Vocabularies are large, and only their being there is asked for.
            let plain =
                |value: &Value| if value.is_object() || value.is_array() { json!([]) } else { value.clone() };
            let keys: Vec<(String, Value)> = inner.map(|(key, value)| (key, plain(value))).collect();
            let outer = object.iter().filter(|(key, _)| *key != "model");
            let outer = outer.map(|(key, value)| (key.as_str(), value.clone()));
            let keys = outer.chain(keys.iter().map(|(key, value)| (key.as_str(), value.clone())));
            self.warnings.extend(side_keys::check((name, ""), &file, keys)?);
        }
        let Some(tokenizer) = &self.tokenizer else { return Ok(()) };
        let (merged, notes) = added_tokens::merged(Listed {
            place,
            tokenizer,
            tokenizer_config: self.tokenizer_config.as_deref(),
            special_tokens_map: self.special_tokens_map.as_deref(),
            added_tokens: self.added_tokens.as_deref(),
        })?;
        self.tokenizer = merged.or(self.tokenizer.take());
        self.warnings.extend(notes);
        Ok(())
    }
}
