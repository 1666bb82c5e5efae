//! The rotary embedding of a config.json, in either of the styles in which checkpoints write it.
//!
//! In: `rope_theta` with `rope_scaling`, or `rope_parameters`. Out: [`Rope`]. Invariant: a rule or a
//! parameter that [`Scaling`] cannot express is refused by name; `dynamic` holds up to
//! `max_position_embeddings`, where no executable goes beyond. Only the reading is here; the
//! frequencies themselves are in `compiler/ir/src/rope.rs`.

use qwenc_ir::{Rope, Scaling};
use serde_json::Map;

use crate::error::{Error, Result};
use crate::json_fields::Fields;

/// Largest context accepted, in tokens.
pub(crate) const MAX_CONTEXT: u32 = 1 << 28;

/// Fields that some rule knows; ones that the named rule does not use are ignored, as transformers
/// does, and any other is refused.
const KNOWN: [&str; 12] = [
    "rope_theta",
    "rope_type",
    "type",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "low_freq_factor",
    "high_freq_factor",
    "truncate",
    "partial_rotary_factor",
];

/// `context` is `max_position_embeddings`; `theta_if_absent` what the family takes where rope_theta is nowhere.
pub(crate) fn rope(config: &Fields, context: u32, theta_if_absent: Option<f32>) -> Result<Rope> {
    let empty = Map::new();
    let (at, map) = match (config.object("rope_parameters")?, config.object("rope_scaling")?) {
        (Some(new), None) => ("rope_parameters.", new),
        (None, Some(old)) => ("rope_scaling.", old),
        (None, None) => ("rope_scaling.", &empty),
        (Some(new), Some(old)) if new == old => ("rope_parameters.", new),
        (Some(_), Some(_)) => {
            return Err(config.wrong("rope_scaling", "nothing, since rope_parameters is there"));
        }
    };
    let rule = Fields { file: config.file, at, map };
    // The rule's name says more than a field that only it has.
    let kind = kind(config, &rule)?;
    if let Some(key) = map.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(config.unsupported(format!("{at}{key}"), KNOWN.join(", ")));
    }
    whole_heads(config)?;
    whole_heads(&rule)?;
    let scaling = match kind {
        Kind::Default => Scaling::None,
        Kind::Linear => Scaling::Linear { factor: factor(&rule)? },
        Kind::Ntk => Scaling::Ntk { factor: factor(&rule)? },
        // Up to `context` positions nothing is changed, and no executable goes further.
        Kind::Dynamic => factor(&rule).map(|_| Scaling::None)?,
        Kind::Yarn => yarn(config, &rule, context)?,
        Kind::Llama3 => llama3(config, &rule, context)?,
    };
    Ok(Rope { theta: theta(config, &rule, theta_if_absent)?, scaling })
}

/// The rules that are read.
enum Kind {
    Default,
    Linear,
    Ntk,
    Dynamic,
    Yarn,
    Llama3,
}

fn whole_heads(fields: &Fields) -> Result<()> {
    match fields.positive_or_none("partial_rotary_factor")? {
        None => Ok(()),
        Some(1.0) => Ok(()),
        Some(f) => Err(fields.unsupported(format!("{}partial_rotary_factor {f}", fields.at), "1")),
    }
}

fn theta(config: &Fields, rule: &Fields, if_absent: Option<f32>) -> Result<f32> {
    let stated = (rule.positive_or_none("rope_theta")?, config.positive_or_none("rope_theta")?);
    let theta = match stated {
        (Some(a), Some(b)) if a != b => {
            return Err(config.error("rope_theta", format!("{a}, as {}rope_theta", rule.at), b.to_string()));
        }
        (Some(theta), _) | (None, Some(theta)) => theta,
        (None, None) if if_absent.is_some() => if_absent.unwrap_or_default(),
        (None, None) => {
            let expected = "a number above 1 here or in rope_parameters";
            return Err(config.wrong("rope_theta", expected));
        }
    };
    match theta > 1.0 {
        true => Ok(theta),
        false => Err(config.error("rope_theta", "a number above 1", theta.to_string())),
    }
}

fn kind(config: &Fields, rule: &Fields) -> Result<Kind> {
    let known = |k: &String| KNOWN.contains(&k.as_str());
    let name = match (rule.text("rope_type")?, rule.text("type")?) {
        (Some(a), Some(b)) if a != b => {
            return Err(rule.error("type", format!("{a:?}, as rope_type"), format!("{b:?}")))
        }
        (Some(name), _) | (None, Some(name)) => name,
        // An unknown field is refused by its own name.
        (None, None) if !rule.map.keys().all(known) => return Ok(Kind::Default),
        (None, None) if rule.map.keys().all(|k| k == "rope_theta" || rule.get(k).is_none()) => "default",
        (None, None) => return Err(rule.wrong("rope_type", "a string")),
    };
    Ok(match name {
        "default" => Kind::Default,
        "linear" => Kind::Linear,
        "ntk" => Kind::Ntk,
        "dynamic" => Kind::Dynamic,
        "yarn" => Kind::Yarn,
        "llama3" => Kind::Llama3,
        _ => {
            let what = format!("{}rope_type {name:?}", rule.at);
            return Err(config.unsupported(what, "default, linear, dynamic, ntk, yarn, llama3"));
        }
    })
}

fn factor(rule: &Fields) -> Result<f32> {
    match rule.positive("factor")? {
        f if f >= 1.0 => Ok(f),
        _ => Err(rule.wrong("factor", "a number of at least 1")),
    }
}

fn original_context(config: &Fields, rule: &Fields, context: u32) -> Result<u32> {
    let key = "original_max_position_embeddings";
    match (rule.size_or_none(key, MAX_CONTEXT)?, config.size_or_none(key, MAX_CONTEXT)?) {
        (Some(a), Some(b)) if a != b => {
            Err(config.error(key, format!("{a}, as {}{key}", rule.at), b.to_string()))
        }
        (stated, elsewhere) => Ok(stated.or(elsewhere).unwrap_or(context)),
    }
}

fn yarn(config: &Fields, rule: &Fields, context: u32) -> Result<Scaling> {
    if !rule.flag("truncate", true)? {
        return Err(rule.unsupported(format!("{}truncate false", rule.at), "true"));
    }
    let factor = factor(rule)?;
    let beta_fast = rule.positive_or_none("beta_fast")?.unwrap_or(32.0);
    let beta_slow = rule.positive_or_none("beta_slow")?.unwrap_or(1.0);
    if beta_fast < beta_slow {
        return Err(rule.error(
            "beta_fast",
            format!("at least beta_slow, {beta_slow}"),
            beta_fast.to_string(),
        ));
    }
    let usual = (0.1 * f64::from(factor).ln() + 1.0) as f32;
    Ok(Scaling::Yarn {
        factor,
        original_context: original_context(config, rule, context)?,
        beta_fast,
        beta_slow,
        attention_factor: rule.positive_or_none("attention_factor")?.unwrap_or(usual),
    })
}

fn llama3(config: &Fields, rule: &Fields, context: u32) -> Result<Scaling> {
    let (low, high) = (rule.positive("low_freq_factor")?, rule.positive("high_freq_factor")?);
    if high <= low {
        let expected = format!("above low_freq_factor, {low}");
        return Err::<_, Error>(rule.error("high_freq_factor", expected, high.to_string()));
    }
    let original_context = original_context(config, rule, context)?;
    Ok(Scaling::Llama3 { factor: factor(rule)?, low, high, original_context })
}
