//! adapter_config.json of a PEFT folder. In: its text. Out: rank and scale of every module.
//!
//! Invariant: what changes a merge and is not done here is refused by name, and so is a field that no code here
//! knows, unless it is empty.

use regex::Regex;
use serde_json::Value;

use crate::error::Result;
use crate::json_fields::{self, shown, Fields};

const MAX_RANK: u32 = 1 << 16;

/// Fields that change nothing once the adapter is trained.
const IGNORED: [&str; 21] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_cache",
    "layer_names",
];

/// Fields that are read.
const READ: [&str; 8] = [
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "init_lora_weights",
];

/// Settings by which deltas are made.
#[derive(Debug)]
pub(super) struct Settings {
    rank: u32,
    alpha: f64,
    /// Whether alpha is divided by the rank's square root.
    rslora: bool,
    ranks: Vec<(Regex, u32)>,
    alphas: Vec<(Regex, f64)>,
    /// Whether deltas are of `[in, out]`.
    pub transposed: bool,
}

impl Settings {
    pub fn parse(file: &str, text: &str) -> Result<Settings> {
        let map = json_fields::object(file, text)?;
        let fields = Fields { file, at: "", map: &map };
        refuse(&fields)?;
        let alpha = |value: &Value| value.as_f64().filter(|v| v.is_finite());
        let rank = |value: &Value| {
            value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_RANK).contains(n))
        };
        Ok(Settings {
            rank: fields.size("r", MAX_RANK)?,
            alpha: fields
                .get("lora_alpha")
                .and_then(alpha)
                .ok_or_else(|| fields.wrong("lora_alpha", "a number"))?,
            rslora: fields.flag("use_rslora", false)?,
            ranks: patterns(&fields, "rank_pattern", &format!("an integer of 1 to {MAX_RANK}"), rank)?,
            alphas: patterns(&fields, "alpha_pattern", "a number", alpha)?,
            transposed: fields.flag("fan_in_fan_out", false)?,
        })
    }

    /// Rank of a module, such as `model.layers.0.self_attn.q_proj`.
    pub fn rank(&self, module: &str) -> u32 {
        first(&self.ranks, module).unwrap_or(self.rank)
    }

    /// Factor of a module's delta.
    pub fn scale(&self, module: &str) -> f64 {
        let (alpha, rank) = (first(&self.alphas, module).unwrap_or(self.alpha), f64::from(self.rank(module)));
        if self.rslora {
            alpha / rank.sqrt()
        } else {
            alpha / rank
        }
    }
}

/// The first pattern that a module's name ends with, as PEFT takes it.
fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map(|(_, value)| *value)
}

fn patterns<T>(
    fields: &Fields,
    key: &str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(Regex, T)>> {
    let Some(map) = fields.object(key)? else { return Ok(Vec::new()) };
    let one = |(name, value): (&String, &Value)| {
        let at = format!("{key}.{name}");
        let pattern = Regex::new(&format!(r"^(?:.*\.)?(?:{name})$"));
        let pattern = pattern.map_err(|_| {
            fields.error(key, "names or regular expressions", shown(&Value::from(name.as_str())))
        })?;
        let value = read(value).ok_or_else(|| fields.error(&at, expected, shown(value)))?;
        Ok((pattern, value))
    };
    map.iter().map(one).collect()
}

fn refuse(fields: &Fields) -> Result<()> {
    match fields.text("peft_type")? {
        Some("LORA") => {}
        Some(other) => return Err(fields.unsupported(format!("peft_type {other:?}"), "LORA")),
        None => return Err(fields.wrong("peft_type", "\"LORA\"")),
    }
    if let Some(bias) = fields.get("bias").filter(|b| **b != "none") {
        return Err(fields.unsupported(format!("bias {}", shown(bias)), "none"));
    }
    // These begin by changing the weights that the adapter is then trained beside.
    let init = fields.get("init_lora_weights");
    let harmless = ["gaussian", "eva", "orthogonal"];
    if let Some(init) = init.filter(|v| !v.is_boolean() && !v.as_str().is_some_and(|s| harmless.contains(&s)))
    {
        let what = format!("init_lora_weights {}, which changes the model's own weights", shown(init));
        return Err(fields.unsupported(what, "true, false, gaussian, eva, orthogonal"));
    }
    let known = |key: &str| key == "bias" || READ.contains(&key) || IGNORED.contains(&key);
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    match fields.map.iter().find(|(key, value)| !known(key) && !empty(value)) {
        None => Ok(()),
        Some((key, value)) => {
            Err(fields.unsupported(format!("{key} {}", shown(value)), "adapters without it"))
        }
    }
}
