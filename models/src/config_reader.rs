//! Reader of config.json. In: its text. Out: [`Config`], every size within limits.
//!
//! Invariant: a config that asks for what the compiler does not do is refused by name, never run
//! wrong. Here are the fields that all families have; what one family reads alone is in its folder
//! (`families/qwen3.rs`), the rotary embedding in `rope.rs`.

use qwenc_ir::{Dims, Eps};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::error::Result;
use crate::families::{llama, qwen2, qwen3};
use crate::family::{Family, Traits};
use crate::json_fields::{self, Fields};
use crate::rope::{rope, MAX_CONTEXT};
use crate::sampling::whole;

const MAX_LAYERS: u32 = 1024;
const MAX_WIDTH: u32 = 1 << 20;
const MAX_HEADS: u32 = 4096;
const MAX_HEAD_DIM: u32 = 1024;
const MAX_VOCAB: u32 = 1 << 22;

impl Config {
    /// Parses the text of a config.json; `file` names it in messages.
    pub fn parse(file: &str, text: &str) -> Result<Config> {
        let raw = json_fields::object(file, text)?;
        let fields = Fields { file, at: "", map: &raw };
        let family = Family::of(&fields)?;
        let traits = match family {
            Family::Qwen3 => qwen3::traits(&fields)?,
            Family::Qwen2 => qwen2::traits(&fields)?,
            Family::Llama => llama::traits(&fields)?,
        };
        let dims = dims(&fields, &traits)?;
        let config = Config {
            family,
            model_type: family.model_type().to_string(),
            eps: Eps::new(fields.positive("rms_norm_eps")?),
            rope: rope(&fields, dims.context, traits.theta_if_absent)?,
            tied: fields.flag("tie_word_embeddings", false)?,
            attention_bias: traits.attention_bias,
            windows: windows(&fields, dims.layers)?,
            stop_tokens: stop_tokens(&fields)?,
            dims,
            raw: Map::new(),
        };
        Ok(Config { raw, ..config })
    }
}

fn dims(fields: &Fields, traits: &Traits) -> Result<Dims> {
    let hidden = fields.size("hidden_size", MAX_WIDTH)?;
    let heads = fields.size("num_attention_heads", MAX_HEADS)?;
    let kv_heads = match fields.size_or_none("num_key_value_heads", MAX_HEADS)? {
        Some(given) => given,
        None => fields.size(traits.kv_heads_if_absent.unwrap_or("num_key_value_heads"), MAX_HEADS)?,
    };
    if heads % kv_heads != 0 {
        let expected = format!("a divisor of num_attention_heads, {heads}");
        return Err(fields.wrong("num_key_value_heads", expected));
    }
    let head_dim = match fields.size_or_none("head_dim", MAX_HEAD_DIM)? {
        Some(given) => given,
        None if hidden % heads == 0 && hidden / heads <= MAX_HEAD_DIM => hidden / heads,
        None => {
            let expected = format!("a value, since hidden_size / num_attention_heads is {hidden} / {heads}");
            return Err(fields.wrong("head_dim", expected));
        }
    };
    if head_dim % 2 != 0 {
        return Err(fields.error("head_dim", "an even number", head_dim.to_string()));
    }
    Ok(Dims {
        layers: fields.size("num_hidden_layers", MAX_LAYERS)?,
        hidden,
        intermediate: fields.size("intermediate_size", MAX_WIDTH)?,
        heads,
        kv_heads,
        head_dim,
        vocab_rows: fields.size("vocab_size", MAX_VOCAB)?,
        context: fields.size("max_position_embeddings", MAX_CONTEXT)?,
    })
}

/// A window only if `use_sliding_window`; then in the layers that `layer_types` says, or else from
/// layer `max_window_layers` on.
fn windows(fields: &Fields, layers: u32) -> Result<Vec<Option<u32>>> {
    let types = layer_types(fields, layers)?;
    if !fields.flag("use_sliding_window", false)? {
        return Ok(vec![None; layers as usize]);
    }
    let window = fields.size_or_none("sliding_window", MAX_CONTEXT)?;
    let slides: Vec<bool> = match (types, window) {
        (Some(slides), _) => slides,
        // For null transformers, too, takes no window; where nothing is said it takes one of its own.
        (None, None) if fields.map.contains_key("sliding_window") => vec![false; layers as usize],
        (None, None) => {
            let expected = "an integer or null, since use_sliding_window is true";
            return Err(fields.wrong("sliding_window", expected));
        }
        (None, Some(_)) => {
            let expected = "an integer, since use_sliding_window is true and layer_types is absent";
            let from = fields.get("max_window_layers").and_then(Value::as_u64);
            let from = from.ok_or_else(|| fields.wrong("max_window_layers", expected))?;
            (0..layers).map(|i| u64::from(i) >= from).collect()
        }
    };
    if window.is_none() && slides.contains(&true) {
        let expected = "an integer, since layer_types has sliding_attention";
        return Err(fields.wrong("sliding_window", expected));
    }
    Ok(slides.into_iter().map(|slides| window.filter(|_| slides)).collect())
}

/// Whether each layer slides, if `layer_types` says so; `[layers]`.
fn layer_types(fields: &Fields, layers: u32) -> Result<Option<Vec<bool>>> {
    let Some(types) = fields.list("layer_types")? else { return Ok(None) };
    if types.len() != layers as usize {
        let expected = format!("{layers} entries, one per layer");
        return Err(fields.error("layer_types", expected, types.len().to_string()));
    }
    let slides = types.iter().map(|t| match t.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => {
            let what = format!("layer_types entry {}", json_fields::shown(t));
            Err(fields.unsupported(what, "full_attention, sliding_attention"))
        }
    });
    slides.collect::<Result<Vec<bool>>>().map(Some)
}

/// `eos_token_id` of config.json or generation_config.json: an integer, a list, or nothing.
pub(crate) fn stop_tokens(fields: &Fields) -> Result<Vec<u32>> {
    let id = |v: &Value| whole(v).and_then(|n| u32::try_from(n).ok());
    let ids = match fields.get("eos_token_id") {
        None => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(id).collect(),
        Some(one) => id(one).map(|n| vec![n]),
    };
    let mut ids: Vec<u32> =
        ids.ok_or_else(|| fields.wrong("eos_token_id", "a token id or a list of them"))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
