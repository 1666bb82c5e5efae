//! The metadata of a model.bin: what it says of the model, beside the header.
//!
//! In: a header and the payload's metadata. Out: config, types of matrices, texts, and where header and metadata disagree.
//! Invariant: the two agree in every field, in both versions, so that the payload's hash covers the header too.

use std::collections::HashMap;
use std::path::Path;

use qwenc_formats::DType;
use serde_json::Value;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::header::{Header, TYPES_BY_ROLE};
use crate::json_fields::{self, Fields};
use crate::payload_layout::key;
use crate::side_files::{Named, SideFiles, SideTexts, Template};
use crate::types_by_role::TypesByRole;
use crate::weight_types::WeightTypes;

/// The parts of a model that the metadata holds.
pub(crate) struct Parts {
    pub config: Config,
    pub types: WeightTypes,
    pub side_files: SideFiles,
    by_role: Option<ByRole>,
}

/// Types of matrices as a file of version 2 states them.
struct ByRole {
    /// Those of the metadata's word if it agrees with the header; else the header's.
    types: TypesByRole,
    /// The metadata's word.
    word: Option<String>,
}

/// The further chat templates, a JSON object of texts.
fn named_templates(place: &str, text: Option<String>) -> Result<Named> {
    let Some(text) = text else { return Ok(Named::new()) };
    let file = format!("{place}: {}", key::NAMED_TEMPLATES);
    let map = json_fields::object(&file, &text)?;
    let fields = Fields { file: &file, at: "", map: &map };
    let text = |(name, value): (&String, &Value)| match value.as_str() {
        Some(template) => Ok((name.clone(), template.to_string())),
        None => Err(fields.wrong(name, "a text")),
    };
    map.iter().map(text).collect()
}

impl ByRole {
    fn read(path: &Path, header: &Header, word: Option<String>) -> Result<ByRole> {
        let linears = header.linears(path)?;
        if word.is_none() && matches!(linears, DType::I4 { .. }) {
            return Err(missing(path, key::WEIGHTS));
        }
        let by_header = TypesByRole::same(linears);
        let stated = word.as_deref().and_then(TypesByRole::parse);
        let stated = stated.filter(|t| (t.code(), t.group()) == (by_header.code(), by_header.group()));
        Ok(ByRole { types: stated.unwrap_or(by_header), word })
    }

    /// Error of a word for the types that the header contradicts.
    fn disagreement(&self, path: &Path) -> Option<Error> {
        let stated = self.word.as_ref().filter(|w| **w != self.types.to_string())?;
        Some(Error::Header {
            path: path.to_path_buf(),
            field: "weight_type and group_size",
            offset: 44,
            expected: match TypesByRole::parse(stated) {
                Some(types) => format!("{}, as the payload's metadata says", types.words()),
                None => format!("{stated:?}, as the payload's metadata says"),
            },
            found: self.types.words(),
        })
    }
}

fn missing(path: &Path, key: &'static str) -> Error {
    Error::MissingMetadata { file: path.display().to_string(), key }
}

impl Parts {
    /// Takes its keys out of `metadata`.
    pub fn read(path: &Path, header: &Header, metadata: &mut HashMap<String, String>) -> Result<Parts> {
        let place = path.display().to_string();
        let by_role = match header.version {
            TYPES_BY_ROLE => Some(ByRole::read(path, header, metadata.remove(key::WEIGHTS))?),
            _ => None,
        };
        let text = metadata.remove(key::CONFIG).ok_or_else(|| missing(path, key::CONFIG))?;
        let config = Config::parse(&format!("{place}: config.json"), &text)?;
        let types = match &by_role {
            Some(by_role) => WeightTypes::by_role(&config, by_role.types),
            None => {
                let text = metadata.remove(key::TYPES).ok_or_else(|| missing(path, key::TYPES))?;
                WeightTypes::parse(&format!("{place}: {}", key::TYPES), &text, &config)?
            }
        };
        let mut take = |key: &str| metadata.remove(key);
        let (tokenizer, template) = (take(key::TOKENIZER), take(key::CHAT_TEMPLATE));
        let named = named_templates(&place, take(key::NAMED_TEMPLATES))?;
        let (bos_token, eos_token) = (take(key::BOS_TOKEN), take(key::EOS_TOKEN));
        let template = Template { text: template, named, bos_token, eos_token };
        let texts = SideTexts { tokenizer, template, generation: take(key::GENERATION) };
        let side_files = SideFiles::new(&place, &config, texts)?;
        Ok(Parts { config, types, side_files, by_role })
    }

    /// Errors of the header: fields that are not what the metadata implies.
    pub fn disagreements(&self, path: &Path, header: &Header) -> Vec<Error> {
        let right = Header::new(&self.config, header.payload_bytes, header.hash);
        match &self.by_role {
            None => header.disagreements(path, &right),
            Some(by_role) => {
                let mut all = header.disagreements(path, &right.with_types_by_role(by_role.types));
                all.extend(by_role.disagreement(path));
                all
            }
        }
    }
}
