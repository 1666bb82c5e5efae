//! A request to go on with texts.
//!
//! In: the body. Out: [`CompletionRequest`]. Invariant: as in `wire`.

use qwenc_abi::metadata::Metadata;
use serde_json::Value;

use crate::constrain::Shape;
use crate::refusal::Refusal;
use crate::wire::fields::{integer, wrong, Fields};
use crate::wire::format;
use crate::wire::options::{self, Options};

/// Most prompts.
const MOST_PROMPTS: usize = 16;
/// Tokens of an answer where the request has no limit, as with OpenAI.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Prompt of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct CompletionRequest {
    /// Each is answered.
    pub prompts: Vec<Prompt>,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// Tokens to tell with each, where that is wanted.
    pub logprobs: Option<usize>,
    /// Say the prompt too.
    pub echo: bool,
    /// Format that the answer must keep to.
    pub shape: Option<Shape>,
    /// The rest.
    pub options: Options,
}

/// Reads the body.
pub fn read(body: Value, about: &Metadata) -> Result<CompletionRequest, Refusal> {
    let mut fields = Fields::of(body, "")?;
    let options = options::read(&mut fields, about)?;
    let request = CompletionRequest {
        prompts: prompts(&mut fields, "prompt", MOST_PROMPTS)?,
        max_tokens: fields
            .whole("max_tokens", 1..=i64::MAX)?
            .map(|n| n as usize)
            .or(about.sampling.max_tokens)
            .unwrap_or(DEFAULT_MAX_TOKENS),
        logprobs: fields.whole("logprobs", 0..=20)?.map(|n| n as usize),
        echo: fields.boolean("echo")?.unwrap_or(false),
        shape: format::response_format(&mut fields)?,
        options,
    };
    let best_of = fields.whole("best_of", 1..=16)?;
    if best_of.is_some_and(|best| best as usize != request.options.n) {
        return Err(Refusal::bad(
            "best_of",
            "'best_of' must be the same as 'n': answers are not compared here",
        ));
    }
    if request.echo && request.logprobs.is_some() {
        let message =
            "'echo' with 'logprobs' would have to say how likely the prompt was, which is not told here";
        return Err(Refusal::bad("echo", message));
    }
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Refusal::bad("suffix", "'suffix' is not supported: this model only goes on with texts"));
    }
    fields.finish()?;
    Ok(request)
}

/// Texts or ids, one or a list of at most `most`, from the field `name`.
pub fn prompts(fields: &mut Fields, name: &'static str, most: usize) -> Result<Vec<Prompt>, Refusal> {
    let list = match fields.any(name) {
        None => return Err(fields.missing(name)),
        Some(Value::String(text)) => return Ok(vec![Prompt::Text(text)]),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong(name, "a string, token ids, or a list of those", &other)),
    };
    if list.is_empty() {
        return Err(Refusal::bad(name, format!("'{name}' is an empty list")));
    }
    if list.iter().all(Value::is_number) {
        return Ok(vec![Prompt::Ids(ids(&list, name)?)]);
    }
    if list.len() > most {
        let message = format!("'{name}' may have at most {most} items, found {}", list.len());
        return Err(Refusal::bad(name, message));
    }
    let one = |value: Value| match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(list) => Ok(Prompt::Ids(ids(&list, name)?)),
        other => Err(wrong(name, "a string, token ids, or a list of those", &other)),
    };
    list.into_iter().map(one).collect()
}

/// Token ids of a list, which the request has as `field`.
pub fn ids(list: &[Value], field: &str) -> Result<Vec<u32>, Refusal> {
    let one = |value: &Value| {
        let id = integer(value).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| Refusal::bad(field, format!("a token id must be a whole number, found {value}")))
    };
    list.iter().map(one).collect()
}
