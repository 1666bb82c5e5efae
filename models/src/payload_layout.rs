//! Layout of a model.bin's payload, before a byte of it is written.
//!
//! In: a checkpoint and the types of its matrices. Out: the safetensors header and the list of tensors to write
//! after it. Invariant: tensors lie layer by layer in the family's order without gaps, and their data
//! begins at a multiple of 64 bytes in the file. This is a file format: order, keys and spelling are
//! what makes the same checkpoint the same bytes (docs/model-bin.md).

use std::collections::BTreeMap;
use std::path::Path;

use qwenc_formats::DType;
use safetensors::Dtype;
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::header::HEADER_BYTES;
use crate::payload::MAX_HEADER;
use crate::stored_types::{entry_type, scale_type, scales_name, stored_shape};
use crate::tensor_order::tensors_in_order;
use crate::weight_types::WeightTypes;

/// Alignment of tensor data in the file: a cache line.
const DATA_ALIGN: usize = 64;

/// Program and version that convert weights.
pub(crate) const EXPORTER: &str = concat!("qwenc ", env!("CARGO_PKG_VERSION"));

/// The metadata keys of a model.bin.
pub(crate) mod key {
    /// Name of the model; absent where nothing says it.
    pub const NAME: &str = "name";
    /// config.json to the byte.
    pub const CONFIG: &str = "config.json";
    /// tokenizer.json to the byte; absent without one.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Jinja source; absent without one.
    pub const CHAT_TEMPLATE: &str = "chat_template";
    /// A JSON object of further templates, name to Jinja source; absent without any.
    pub const NAMED_TEMPLATES: &str = "named_chat_templates";
    /// The text of the template's `bos_token`; absent where the template does not name it.
    pub const BOS_TOKEN: &str = "bos_token";
    /// The text of the template's `eos_token`; absent where the template does not name it.
    pub const EOS_TOKEN: &str = "eos_token";
    /// generation_config.json to the byte; absent without one.
    pub const GENERATION: &str = "generation_config.json";
    /// A JSON object of file name to SHA-256 in hexadecimal.
    pub const SOURCES: &str = "sources";
    /// Program and version.
    pub const EXPORTER: &str = "exporter";
    /// Origin that only the old format states ([`Origin`](crate::origin::Origin)).
    pub const ORIGIN: &str = "origin";
    /// A JSON list of merged adapters: folder, scale, number of deltas.
    pub const ADAPTERS: &str = "adapters";
    /// A JSON object of matrix name to format.
    pub const TYPES: &str = "types";
    /// Version 2's word for the types of matrices, the header's weight type and group size among them.
    pub const WEIGHTS: &str = "weights";
}

/// A checkpoint tensor and how it is stored.
pub(crate) struct Item {
    pub name: String,
    /// Values of one row.
    pub cols: usize,
    /// Type in the checkpoint.
    pub from: DType,
    /// Type in the file.
    pub to: DType,
}

/// A file's plan.
pub(crate) struct Layout {
    pub items: Vec<Item>,
    /// Length and JSON text of the safetensors header.
    pub json_header: Vec<u8>,
    /// Bytes of tensor data.
    pub data_bytes: u64,
    /// Number of tensors, scales counted apart.
    pub entries: usize,
}

/// Safetensors header text under construction.
struct Entries {
    text: String,
    offset: u64,
    count: usize,
}

impl Entries {
    fn add(&mut self, name: &str, dtype: Dtype, shape: &[u32], bytes: u64) {
        let end = self.offset + bytes;
        let name = Value::from(name);
        let shape: Vec<String> = shape.iter().map(u32::to_string).collect();
        self.text += &format!(
            ",{name}:{{\"dtype\":\"{dtype:?}\",\"shape\":[{}],\"data_offsets\":[{},{end}]}}",
            shape.join(","),
            self.offset
        );
        self.offset = end;
        self.count += 1;
    }
}

/// Plans the file; `sources` maps file names to SHA-256 digits.
pub(crate) fn plan(
    checkpoint: &Checkpoint,
    types: &WeightTypes,
    sources: &BTreeMap<String, String>,
    out: &Path,
) -> Result<Layout> {
    let metadata = metadata(checkpoint, types, sources);
    let text = format!("{{\"__metadata__\":{metadata}");
    let mut entries = Entries { text, offset: 0, count: 0 };
    let mut items = Vec::new();
    for (name, spec) in tensors_in_order(checkpoint.config()) {
        let to = types.of_tensor(&name).unwrap_or(DType::F32);
        // Cannot overflow: the checkpoint has this many values in memory, of two bytes or more.
        let (rows, cols) = spec.extent();
        entries.add(&name, entry_type(to), &stored_shape(to, &spec.shape), rows * to.bytes(cols));
        if let (Some((group, scales)), &[rows, cols]) = (to.quantised(), &spec.shape[..]) {
            let (shape, bytes) = ([rows, cols.div_ceil(group)], to.scale_bytes(u64::from(cols)));
            entries.add(&scales_name(&name), entry_type(scale_type(scales)), &shape, u64::from(rows) * bytes);
        }
        items.push(Item { from: checkpoint.stored_type(&name), name, cols: cols as usize, to });
    }
    let mut text = entries.text + "}";
    let unpadded = HEADER_BYTES + 8 + text.len();
    text += &" ".repeat(unpadded.next_multiple_of(DATA_ALIGN) - unpadded);
    let found = text.len() as u64;
    if found > MAX_HEADER {
        return Err(Error::HeaderTooLarge { path: out.to_path_buf(), limit: MAX_HEADER, found });
    }
    let json_header = [&found.to_le_bytes(), text.as_bytes()].concat();
    Ok(Layout { items, json_header, data_bytes: entries.offset, entries: entries.count })
}

fn metadata(checkpoint: &Checkpoint, types: &WeightTypes, sources: &BTreeMap<String, String>) -> Value {
    let mut map = serde_json::Map::new();
    let mut add = |key: &str, text: Option<String>| {
        if let Some(text) = text {
            map.insert(key.to_string(), Value::String(text));
        }
    };
    add(key::EXPORTER, Some(EXPORTER.to_string()));
    add(key::NAME, checkpoint.name().map(str::to_string));
    add(key::TYPES, Some(types.json()));
    add(key::SOURCES, Some(serde_json::json!(sources).to_string()));
    add(key::ADAPTERS, checkpoint.merged().map(|merged| merged.to_string()));
    add(key::CONFIG, Some(checkpoint.config_text().to_string()));
    let texts = checkpoint.side_files();
    add(key::GENERATION, texts.generation_config.clone());
    add(key::CHAT_TEMPLATE, texts.chat_template.clone());
    let named = &texts.named_templates;
    add(key::NAMED_TEMPLATES, (!named.is_empty()).then(|| serde_json::json!(named).to_string()));
    add(key::BOS_TOKEN, texts.bos_token.clone());
    add(key::EOS_TOKEN, texts.eos_token.clone());
    add(key::ORIGIN, checkpoint.origin().map(str::to_string));
    add(key::TOKENIZER, texts.tokenizer_json.clone());
    Value::Object(map)
}
