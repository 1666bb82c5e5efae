//! Options that chats and completions have in common: sampling, limits, form of the answer.
//!
//! In: fields, the defaults of this run. Out: [`Options`]. Invariant: what a request does not say is as the defaults say;
//! filters stay unresolved until the rendered prompt shows whether the answer thinks.

use qwenc_abi::metadata::Metadata;
use serde_json::Value;

use crate::refusal::Refusal;
use crate::wire::fields::{wrong, Fields};
use qwenc_engine::image::metadata::adapter_names;
use qwenc_engine::image::sampling::penalties;
use qwenc_engine::inference::logits_processor::Penalties;
use qwenc_engine::inference::sampler::Sampling;

/// Most answers to one request.
const MOST_ANSWERS: i64 = 16;
/// Most stop strings.
const MOST_STOPS: usize = 16;
/// Longest stop string in characters.
const LONGEST_STOP: usize = 256;
/// Most digits of a token id.
const MOST_DIGITS: usize = 9;
/// Most biases.
const MOST_BIASES: usize = 1024;

/// Options of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Filters.
    pub filters: Filters,
    /// Changes of logits.
    pub penalties: Penalties,
    /// Seed of the first answer; the others' follow.
    pub seed: Option<u64>,
    /// Answers.
    pub n: usize,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Go on after a stop token.
    pub ignore_eos: bool,
    /// Piece by piece.
    pub stream: bool,
    /// With a last chunk that says how many tokens it was.
    pub include_usage: bool,
    /// Counted from 1; 0: none.
    pub adapter: u32,
}

/// Filters that a request names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filters {
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
}

impl Filters {
    /// With the rest from `defaults`.
    pub fn over(self, defaults: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
        }
    }
}

/// Reads them.
pub fn read(fields: &mut Fields, about: &Metadata) -> Result<Options, Refusal> {
    let filters = filters(fields)?;
    let usual = penalties(&about.sampling);
    let penalties = Penalties {
        presence: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(usual.presence),
        frequency: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(usual.frequency),
        repetition: fields.number("repetition_penalty", 0.01..=10.0)?.unwrap_or(usual.repetition),
        bias: biases(fields)?,
        ..usual
    };
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let include_usage = usage(fields, stream)?;
    let options = Options {
        filters,
        penalties,
        // Negative ones are seeds like others.
        seed: fields.whole("seed", i64::MIN..=i64::MAX)?.map(|seed| seed as u64),
        n: fields.whole("n", 1..=MOST_ANSWERS)?.map_or(1, |n| n as usize),
        stop: stops(fields)?.unwrap_or_else(|| about.sampling.stop.clone()),
        ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
        stream,
        include_usage,
        adapter: adapter(fields, about)?,
    };
    fields.text("model")?;
    fields.without_effect(&[
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    ]);
    Ok(options)
}

fn filters(fields: &mut Fields) -> Result<Filters, Refusal> {
    let top_k = fields.whole("top_k", -1..=i64::from(u32::MAX))?;
    Ok(Filters {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        // -1 says "all" to some clients.
        top_k: top_k.map(|k| k.max(0) as u32),
        top_p: fields.number("top_p", 0.0..=1.0)?,
        min_p: fields.number("min_p", 0.0..=1.0)?,
    })
}

fn biases(fields: &mut Fields) -> Result<Vec<(u32, f32)>, Refusal> {
    let map = match fields.any("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) if map.len() <= MOST_BIASES => map,
        Some(Value::Object(_)) => {
            let message = format!("'logit_bias' may name at most {MOST_BIASES} tokens");
            return Err(Refusal::bad("logit_bias", message));
        }
        Some(other) => return Err(wrong("logit_bias", "an object", &other)),
    };
    let one = |(id, bias): (&String, &Value)| {
        let digits = |id: &&String| id.len() <= MOST_DIGITS && id.bytes().all(|b| b.is_ascii_digit());
        let token = Some(id).filter(digits).and_then(|id| id.parse().ok());
        let token: u32 = token.ok_or_else(|| {
            Refusal::bad("logit_bias", format!("'logit_bias' has token ids as keys, found {id:?}"))
        })?;
        let bias = bias.as_f64().filter(|b| (-100.0..=100.0).contains(b)).ok_or_else(|| {
            Refusal::bad(
                "logit_bias",
                format!("'logit_bias' of token {id} must be a number from -100 to 100"),
            )
        })?;
        Ok((token, bias as f32))
    };
    map.iter().map(one).collect()
}

fn usage(fields: &mut Fields, stream: bool) -> Result<bool, Refusal> {
    let Some(mut options) = fields.object("stream_options")? else { return Ok(false) };
    if !stream {
        let message = "'stream_options' means something only with 'stream': true";
        return Err(Refusal::bad("stream_options", message));
    }
    let wanted = options.boolean("include_usage")?.unwrap_or(false);
    options.boolean("include_obfuscation")?;
    options.finish()?;
    Ok(wanted)
}

fn stops(fields: &mut Fields) -> Result<Option<Vec<String>>, Refusal> {
    let list = match fields.any("stop") {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    if list.len() > MOST_STOPS {
        let message = format!("'stop' may have at most {MOST_STOPS} strings, found {}", list.len());
        return Err(Refusal::bad("stop", message));
    }
    let one = |value: Value| match value {
        Value::String(text) if text.is_empty() => {
            Err(Refusal::bad("stop", "'stop' must not be an empty string"))
        }
        Value::String(text) if text.chars().count() <= LONGEST_STOP => Ok(text),
        Value::String(_) => {
            Err(Refusal::bad("stop", format!("'stop' may have strings of at most {LONGEST_STOP} characters")))
        }
        other => Err(wrong("stop", "a string or a list of strings", &other)),
    };
    list.into_iter().map(one).collect::<Result<_, _>>().map(Some)
}

/// The adapter that the field `lora` names, counted from 1; 0: none.
pub fn adapter(fields: &mut Fields, about: &Metadata) -> Result<u32, Refusal> {
    let Some(name) = fields.text("lora")? else { return Ok(0) };
    about.adapter(&name).ok_or_else(|| {
        let message =
            format!("'lora': there is no adapter {name:?}: this executable has {}", adapter_names(about));
        Refusal::bad("lora", message).code("adapter_not_found")
    })
}
