//! A person's choice of RoPE scaling and longest context, in place of config.json's.
//!
//! In: words such as `yarn:4`, a number of tokens, a config. Out: the config with the choice written into it.
//! Invariant: what was the longest context stays the one that a rule scales from, and a rule that does not hold at the
//! new one is refused by name.

use serde_json::{json, Map, Value};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::json_fields::Fields;
use crate::rope::MAX_CONTEXT;

/// A choice; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RopeChoice {
    rule: Option<Rule>,
    context: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    kind: &'static str,
    factor: f64,
    /// Context of the original training.
    original: Option<u32>,
}

const KINDS: [&str; 5] = ["linear", "dynamic", "ntk", "yarn", "llama3"];

impl RopeChoice {
    /// Choice from `none` or `KIND:FACTOR` or `KIND:FACTOR:ORIGINAL_CONTEXT`, and the longest context in tokens.
    pub fn of_words(scaling: Option<&str>, context: Option<u32>) -> Result<RopeChoice> {
        if let Some(found) = context.filter(|n| !(1..=MAX_CONTEXT).contains(n)) {
            return Err(Error::ContextChoice { found, most: MAX_CONTEXT });
        }
        let rule =
            scaling.map(|word| Rule::of(word).ok_or_else(|| Error::RopeChoice { found: word.to_string() }));
        Ok(RopeChoice { rule: rule.transpose()?, context })
    }

    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        *self == RopeChoice::default()
    }

    /// The config with the choice in it, and what a person should know.
    pub(crate) fn apply(&self, file: &str, config: &Config) -> Result<(Config, Vec<String>)> {
        let mut raw = config.raw.clone();
        let trained = config.dims.context;
        let context = self.context.unwrap_or(trained);
        // The newer style keeps its base inside, so its object stays.
        let at = if raw.get("rope_parameters").is_some_and(Value::is_object) {
            "rope_parameters"
        } else {
            "rope_scaling"
        };
        let old = raw.get(at).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut fields = match &self.rule {
            Some(rule) => rule.fields(&raw, &old, (trained, self.context)),
            None => old.clone(),
        };
        let kind = fields
            .get("rope_type")
            .or(fields.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default")
            .to_string();
        if kind == "dynamic" && context > trained {
            return Err(beyond_dynamic(file, &fields, (trained, context)));
        }
        // Where they do not say, it is max_position_embeddings, which is about to change.
        let original = "original_max_position_embeddings";
        let states = |map: &Map<String, Value>| map.get(original).is_some_and(|v| !v.is_null());
        if ["yarn", "llama3"].contains(&kind.as_str()) && !states(&fields) && !states(&raw) {
            fields.insert(original.to_string(), trained.into());
        }
        if let Some(theta) = old.get("rope_theta") {
            fields.insert("rope_theta".to_string(), theta.clone());
        }
        if self.rule.is_some() {
            raw.remove("rope_scaling");
            // It stands within the rule now.
            if states(&fields) {
                raw.remove(original);
            }
        }
        if !fields.is_empty() {
            raw.insert(at.to_string(), Value::Object(fields.clone()));
        }
        raw.insert("max_position_embeddings".to_string(), context.into());
        let config = Config::parse(file, &Value::Object(raw).to_string())?;
        let reach = reach(&fields, &config.raw, trained);
        let note = format!(
            "--context {context}: the model and its RoPE scaling reach {reach}; answers beyond may be bad"
        );
        Ok((config, if context > reach { vec![note] } else { Vec::new() }))
    }
}

impl Rule {
    fn of(word: &str) -> Option<Rule> {
        let mut parts = word.split(':');
        let name = parts.next()?;
        let rule = match name {
            "none" | "default" => Rule { kind: "default", factor: 1.0, original: None },
            _ => {
                let kind = KINDS.into_iter().find(|k| *k == name)?;
                let factor = parts.next()?.parse().ok().filter(|f: &f64| f.is_finite() && *f >= 1.0)?;
                let scales_from = ["yarn", "llama3"].contains(&kind);
                let original = match parts.next() {
                    None => None,
                    Some(n) if scales_from => Some(n.parse().ok().filter(|n| (1..=MAX_CONTEXT).contains(n))?),
                    Some(_) => return None,
                };
                Rule { kind, factor, original }
            }
        };
        parts.next().is_none().then_some(rule)
    }

    /// The object of config.json.
    fn fields(
        &self,
        raw: &Map<String, Value>,
        old: &Map<String, Value>,
        contexts: (u32, Option<u32>),
    ) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("rope_type".to_string(), self.kind.into());
        if self.kind == "default" {
            return fields;
        }
        fields.insert("factor".to_string(), json!(self.factor));
        if self.kind == "llama3" {
            fields.insert("low_freq_factor".to_string(), json!(1.0));
            fields.insert("high_freq_factor".to_string(), json!(4.0));
        }
        if ["yarn", "llama3"].contains(&self.kind) {
            let key = "original_max_position_embeddings";
            let stated = old.get(key).or(raw.get(key)).and_then(Value::as_u64);
            let original = self.original.map(u64::from).or(stated).unwrap_or(self.scales_from(contexts));
            fields.insert(key.to_string(), original.into());
        }
        fields
    }

    /// Original context of a rule that states none: the part of the wanted context that its factor
    /// leaves (32768 of 131072 with 4), at most what config.json states.
    fn scales_from(&self, (trained, wanted): (u32, Option<u32>)) -> u64 {
        let part = wanted.map(|context| (f64::from(context) / self.factor).round() as u64);
        part.filter(|n| (1..=u64::from(trained)).contains(n)).unwrap_or(u64::from(trained))
    }
}

/// The length up to which the rule scales.
fn reach(fields: &Map<String, Value>, raw: &Map<String, Value>, trained: u32) -> u32 {
    let number = |key: &str| fields.get(key).or(raw.get(key)).and_then(Value::as_f64);
    let factor = number("factor").unwrap_or(1.0);
    let original = number("original_max_position_embeddings").unwrap_or(f64::from(trained));
    // Saturates: longer than any context that can be asked for.
    (factor * original).max(f64::from(trained)) as u32
}

fn beyond_dynamic(file: &str, fields: &Map<String, Value>, (trained, context): (u32, u32)) -> Error {
    let rule = Fields { file, at: "", map: fields };
    let factor = fields.get("factor").and_then(Value::as_f64).unwrap_or(1.0);
    let same = factor * f64::from(context) / f64::from(trained) - (factor - 1.0);
    rule.unsupported(
        format!(
            "dynamic RoPE scaling at {context} positions (beyond {trained} its frequencies change with the length \
             of the sequence)"
        ),
        format!("up to {trained}; ntk:{same} has the frequencies of a sequence of {context}; yarn:FACTOR"),
    )
}
