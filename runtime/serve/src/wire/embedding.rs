//! A request for embeddings.
//!
//! In: the body. Out: [`EmbeddingRequest`]; the answer's JSON. Invariant: as in `wire`.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use qwenc_abi::metadata::Metadata;
use serde_json::{json, Value};

use crate::refusal::Refusal;
use crate::wire::completion::{prompts, Prompt};
use crate::wire::fields::Fields;
use crate::wire::options::adapter;

/// Most texts, as with OpenAI.
const MOST_INPUTS: usize = 2048;

/// Encoding of an embedding's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A JSON list.
    Float,
    /// Base64 of little-endian f32.
    Base64,
}

/// A request.
#[derive(Clone, Debug)]
pub struct EmbeddingRequest {
    /// Each gets one.
    pub inputs: Vec<Prompt>,
    /// Encoding of the numbers.
    pub encoding: Encoding,
    /// Keep at most so many of the numbers.
    pub dimensions: Option<usize>,
    /// Counted from 1; 0: none.
    pub adapter: u32,
}

/// Reads the body.
pub fn read(body: Value, about: &Metadata) -> Result<EmbeddingRequest, Refusal> {
    let mut fields = Fields::of(body, "")?;
    fields.text("model")?;
    fields.text("user")?;
    let request = EmbeddingRequest {
        inputs: prompts(&mut fields, "input", MOST_INPUTS)?,
        encoding: match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(other) => {
                let message = format!("'encoding_format' must be 'float' or 'base64', found '{other}'");
                return Err(Refusal::bad("encoding_format", message));
            }
        },
        dimensions: fields.whole("dimensions", 1..=i64::MAX)?.map(|n| n as usize),
        adapter: adapter(&mut fields, about)?,
    };
    fields.finish()?;
    Ok(request)
}

/// The answer; `tokens` are those of all inputs.
pub fn reply(model: &str, embeddings: &[Vec<f32>], encoding: Encoding, tokens: usize) -> Value {
    let one = |(index, values): (usize, &Vec<f32>)| {
        let written = match encoding {
            Encoding::Float => json!(values),
            Encoding::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
        };
        json!({"object": "embedding", "index": index, "embedding": written})
    };
    json!({
        "object": "list",
        "data": embeddings.iter().enumerate().map(one).collect::<Vec<_>>(),
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}
