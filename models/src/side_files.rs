//! The files beside the weights, which a model needs to read text and to converse: tokenizer.json, the
//! chat template, generation_config.json. In: their texts, from a folder or from a model.bin's metadata.
//! Out: the same, looked at just enough to warn.
//!
//! Invariant: texts are kept to the byte as their files have them. What they mean is for the runtime.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Config;
use crate::config_reader::stop_tokens;
use crate::error::{Error, Result};
use crate::json_fields::{self, Fields};
use crate::old_template::Renderer;
use crate::range_check;
use crate::sampling::Sampling;
use crate::side_keys;

/// Texts beside the weights, and what they say.
pub struct SideFiles {
    /// tokenizer.json to the byte.
    pub tokenizer_json: Option<String>,
    /// Jinja source of the chat template.
    pub chat_template: Option<String>,
    /// Jinja sources of further templates, by name.
    pub named_templates: BTreeMap<String, String>,
    /// generation_config.json to the byte.
    pub generation_config: Option<String>,
    /// Sampling defaults; flags and requests override them.
    pub sampling: Sampling,
    /// Text of the template's `bos_token`, where the template names it.
    pub bos_token: Option<String>,
    /// Text of the template's `eos_token`, where the template names it.
    pub eos_token: Option<String>,
    /// Token ids that end generation: those of config.json and generation_config.json, ascending.
    pub stop_tokens: Vec<u32>,
    /// Warnings for a person who is about to rely on this model.
    pub warnings: Vec<String>,
}

/// Their texts as found.
#[derive(Default)]
pub(crate) struct SideTexts {
    pub tokenizer: Option<String>,
    pub template: Template,
    pub generation: Option<String>,
}

/// Chat templates by name, without the one named default.
pub(crate) type Named = BTreeMap<String, String>;

/// Chat templates, and the texts of the two tokens that they may name.
#[derive(Default)]
pub(crate) struct Template {
    pub text: Option<String>,
    pub named: Named,
    pub bos_token: Option<String>,
    pub eos_token: Option<String>,
}

impl Template {
    /// From files of their own, if there are any, else from tokenizer_config.json, of the folder `place`.
    pub fn of(place: &str, own: (Option<String>, Named), tokenizer_config: Option<&str>) -> Result<Template> {
        let file = format!("{place}/tokenizer_config.json");
        let map = tokenizer_config.map(|text| json_fields::object(&file, text)).transpose()?;
        let (text, named) = own;
        let Some(map) = map else { return Ok(Template { text, named, ..Template::default() }) };
        let fields = Fields { file: &file, at: "", map: &map };
        let (text, named) = match text.is_some() || !named.is_empty() {
            true => (text, named),
            false => templates_of(&fields)?,
        };
        let token = |key: &str| match text.iter().chain(named.values()).any(|t| t.contains(key)) {
            true => token_text(&fields, key),
            false => Ok(None),
        };
        let (bos_token, eos_token) = (token("bos_token")?, token("eos_token")?);
        Ok(Template { text, named, bos_token, eos_token })
    }
}

/// A token of tokenizer_config.json: a string, or an object with its `content`.
fn token_text(fields: &Fields, key: &str) -> Result<Option<String>> {
    let content = |v: &Value| v.as_str().or(v.get("content").and_then(Value::as_str)).map(str::to_string);
    match fields.get(key) {
        None => Ok(None),
        Some(value) => {
            content(value).map(Some).ok_or_else(|| fields.wrong(key, "a string, or an object with content"))
        }
    }
}

impl SideFiles {
    /// From texts; `file` is the folder or file that they came from.
    pub(crate) fn new(file: &str, config: &Config, texts: SideTexts) -> Result<SideFiles> {
        let SideTexts { tokenizer, template, generation } = texts;
        let mut stops = config.stop_tokens.clone();
        let mut notes = side_keys::check(("config.json", ""), file, side_keys::of_map(&config.raw))?;
        let mut sampling = Sampling::of_family(config.family);
        let generation = match generation {
            None => None,
            Some(text) => {
                let name = format!("{file}: generation_config.json");
                let map = json_fields::object(&name, &text)?;
                let fields = Fields { file: &name, at: "", map: &map };
                stops.extend(stop_tokens(&fields)?);
                notes.extend(side_keys::check(
                    ("generation_config.json", ""),
                    file,
                    side_keys::of_map(&map),
                )?);
                sampling = Sampling::read(&fields, config.family)?;
                Some(text)
            }
        };
        let mut largest = None;
        if let Some(text) = &tokenizer {
            let name = format!("{file}: tokenizer.json");
            let json = Value::Object(json_fields::object(&name, text)?);
            let known = range_check::largest_id(&json).map(|(id, token)| (id, token.to_string()));
            largest = Some(known.ok_or_else(|| Error::Field {
                file: name,
                field: "model".to_string(),
                expected: "an object with a vocabulary".to_string(),
                found: json_fields::shown(&json["model"]),
            })?);
        }
        stops.sort_unstable();
        stops.dedup();
        let Template { text: chat_template, named: named_templates, bos_token, eos_token } = template;
        let mut all = SideFiles {
            tokenizer_json: tokenizer,
            chat_template,
            named_templates,
            generation_config: generation,
            sampling,
            bos_token,
            eos_token,
            stop_tokens: stops,
            warnings: notes,
        };
        all.warn(config, largest);
        Ok(all)
    }

    /// `largest` is the vocabulary's last id.
    fn warn(&mut self, config: &Config, largest: Option<(u64, String)>) {
        let rows = config.dims.vocab_rows;
        let mut warn = |text: String| self.warnings.push(text);
        if self.tokenizer_json.is_none() {
            warn("no tokenizer.json: the model can be fed token ids only".to_string());
        }
        if self.chat_template.is_none() && self.named_templates.is_empty() {
            warn("no chat template: the model can complete text, but not chat".to_string());
        }
        if self.stop_tokens.is_empty() {
            warn("no eos_token_id: generation ends only at its length limit".to_string());
        }
        for id in self.stop_tokens.iter().filter(|&&id| id >= rows) {
            warn(format!("eos_token_id {id} is past the vocabulary's {rows} rows"));
        }
        if let Some((id, token)) = largest.filter(|(id, _)| *id >= u64::from(rows)) {
            warn(format!("tokenizer.json has id {id} for {token:?}, past the vocabulary's {rows} rows"));
        }
        if self.chat_template.is_none() && !self.named_templates.is_empty() {
            let names: Vec<&str> = self.named_templates.keys().map(String::as_str).collect();
            let names = names.join(", ");
            warn(format!(
                "no chat template is named default, so the model chats with tools at most; found {names}"
            ));
        }
        if let Some(Err(e)) = self.chat_template.as_ref().map(|t| Renderer::new(t, None, None)) {
            warn(format!("the chat template cannot be read, so the model cannot chat: {e}"));
        }
        for (name, source) in &self.named_templates {
            if let Err(e) = Renderer::new(source, None, None) {
                warn(format!("the chat template {name} cannot be read: {e}"));
            }
            if name != "tool_use" {
                warn(format!("the chat template {name} is not used: only default and tool_use are"));
            }
        }
    }
}

/// The chat templates of a tokenizer_config.json: a string, or a list of named ones.
fn templates_of(config: &Fields) -> Result<(Option<String>, Named)> {
    let wanted = "a string or a list of named templates";
    match config.get("chat_template") {
        None => Ok((None, Named::new())),
        Some(Value::String(template)) => Ok((Some(template.clone()), Named::new())),
        Some(Value::Array(list)) => {
            let mut named = Named::new();
            for one in list {
                let text = |key: &str| one.get(key).and_then(Value::as_str).map(str::to_string);
                let (Some(name), Some(template)) = (text("name"), text("template")) else {
                    return Err(config.wrong("chat_template", wanted));
                };
                named.insert(name, template);
            }
            Ok((named.remove("default"), named))
        }
        Some(_) => Err(config.wrong("chat_template", wanted)),
    }
}
