//! Sampling defaults of a checkpoint: those of generation_config.json, or else those that the family's maker recommends.
//!
//! In: generation_config.json. Out: [`Sampling`], every value in the range that the runtime takes. Invariant: -1
//! means off, and so does 0 but for top_p, whole numbers may be written as floats, and any other value is refused by name; what transformers assumes
//! where the file is silent is assumed here, and each value says where it comes from.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::family::Family;
use crate::json_fields::Fields;

/// Origin of what the file says.
const FILE: &str = "generation_config.json";
/// Origin of what transformers takes where the file does not say.
const TRANSFORMERS: &str = "default of transformers";
/// Origin of what the family's maker recommends.
const FAMILY: &str = "family default";
/// `top_k` of transformers.
const TOP_K: u32 = 50;
/// The key of a generation_config.json that was made of a GGUF file's `general.sampling` keys.
pub(crate) const OF_GGUF: &str = "_gguf_sampling";

/// Values for every answer that asks for no others.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// 0: all tokens.
    pub top_k: u32,
    /// 1: all tokens.
    pub top_p: f32,
    /// 0: all tokens.
    pub min_p: f32,
    /// 1: none.
    pub repetition_penalty: f32,
    /// Tokens that are never chosen.
    pub suppress_tokens: Vec<u32>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// Temperature and top-p of answers without thinking, where they differ.
    pub without_thinking: Option<(f32, f32)>,
    /// Source of each value that is not neutral: a file or `family default`.
    pub origins: BTreeMap<&'static str, String>,
}

impl Sampling {
    /// Greedy, with nothing changed.
    fn neutral() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            suppress_tokens: Vec::new(),
            stop: Vec::new(),
            max_tokens: None,
            without_thinking: None,
            origins: BTreeMap::new(),
        }
    }

    /// Sampling defaults that the family's maker recommends; llama.cpp's for families without a recommendation.
    pub(crate) fn of_family(family: Family) -> Sampling {
        let (values, without_thinking): ([f64; 4], _) = match family {
            Family::Qwen2 | Family::Qwen3 => ([0.6, 20.0, 0.95, 0.0], Some((0.7, 0.8))),
            Family::Llama => ([0.8, 40.0, 0.95, 0.05], None),
        };
        let [temperature, top_k, top_p, min_p] = values;
        let names = ["temperature", "top_k", "top_p", "min_p"];
        let given = names.into_iter().zip(values).filter(|(_, value)| *value != 0.0);
        Sampling {
            temperature: temperature as f32,
            top_k: top_k as u32,
            top_p: top_p as f32,
            min_p: min_p as f32,
            without_thinking,
            origins: given.map(|(name, _)| (name, FAMILY.to_string())).collect(),
            ..Sampling::neutral()
        }
    }

    /// Sampling defaults of a generation_config.json, checked.
    pub(crate) fn read(fields: &Fields, family: Family) -> Result<Sampling> {
        if fields.map.contains_key(OF_GGUF) {
            let family = Sampling::of_family(family);
            return Reader { fields, origin: "GGUF general.sampling" }.over(family);
        }
        let mut all = Reader { fields, origin: FILE }.over(Sampling::neutral())?;
        let samples = fields.flag("do_sample", false)?;
        let mut assume = |name: &'static str, origin: &str| all.origins.insert(name, origin.to_string());
        if !samples {
            all.temperature = 0.0;
            assume("temperature", if fields.get("do_sample").is_some() { FILE } else { TRANSFORMERS });
            return Ok(all);
        }
        if fields.get("temperature").is_none() {
            assume("temperature", TRANSFORMERS);
            all.temperature = 1.0;
        }
        if fields.get("top_k").is_none() {
            all.origins.insert("top_k", TRANSFORMERS.to_string());
            all.top_k = TOP_K;
        }
        Ok(all)
    }
}

/// Reads values of one origin.
struct Reader<'a> {
    fields: &'a Fields<'a>,
    origin: &'a str,
}

impl Reader<'_> {
    /// The values that are there, over `all`.
    fn over(&self, mut all: Sampling) -> Result<Sampling> {
        let mut given = Vec::new();
        let mut set = |name: &'static str, value: Option<f32>, place: &mut f32| {
            if let Some(value) = value {
                *place = value;
                given.push(name);
            }
        };
        let temperature = self.number("temperature", (0.0, f64::from(f32::MAX)), 0.0)?;
        set("temperature", temperature, &mut all.temperature);
        set("top_p", self.number("top_p", (0.0, 1.0), 1.0)?, &mut all.top_p);
        set("min_p", self.number("min_p", (0.0, 1.0), 0.0)?, &mut all.min_p);
        let repetition = self.number("repetition_penalty", (0.01, 10.0), 1.0)?;
        set("repetition_penalty", repetition, &mut all.repetition_penalty);
        if let Some(top_k) = self.count("top_k")? {
            all.top_k = top_k;
            given.push("top_k");
        }
        if let Some(most) = self.count("max_new_tokens")?.filter(|&most| most > 0) {
            all.max_tokens = Some(most);
            given.push("max_tokens");
        }
        all.suppress_tokens = self.ids("suppress_tokens")?;
        all.stop = self.texts("stop_strings")?;
        given.extend((!all.suppress_tokens.is_empty()).then_some("suppress_tokens"));
        given.extend((!all.stop.is_empty()).then_some("stop"));
        if given.contains(&"temperature") || given.contains(&"top_p") {
            all.without_thinking = None;
        }
        all.origins.extend(given.into_iter().map(|name| (name, self.origin.to_string())));
        Ok(all)
    }

    /// A number from `least` to `most`; -1, and 0 where it is below, are `off`.
    fn number(&self, key: &str, (least, most): (f64, f64), off: f32) -> Result<Option<f32>> {
        let Some(value) = self.fields.get(key) else { return Ok(None) };
        let expected = match most > 10.0 {
            true => "a number of 0 or more, or -1 for off".to_string(),
            false => format!("a number from {least} to {most}, or -1 for off"),
        };
        match value.as_f64() {
            Some(v) if v == -1.0 || v == 0.0 && least > 0.0 => Ok(Some(off)),
            Some(v) if (least..=most).contains(&v) => Ok(Some(v as f32)),
            _ => Err(self.fields.wrong(key, expected)),
        }
    }

    /// A whole number; -1 and 0 are 0.
    fn count(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.fields.get(key) else { return Ok(None) };
        match whole(value) {
            Some(-1) => Ok(Some(0)),
            Some(n) if u32::try_from(n).is_ok() => Ok(Some(n as u32)),
            _ => Err(self.fields.wrong(key, "a whole number of 0 or more, or -1 for off")),
        }
    }

    fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| whole(value).and_then(|n| u32::try_from(n).ok());
        let ids = self.fields.list(key)?.unwrap_or_default().iter().map(id).collect::<Option<_>>();
        ids.ok_or_else(|| self.fields.wrong(key, "a list of token ids"))
    }

    fn texts(&self, key: &str) -> Result<Vec<String>> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
        let texts = match self.fields.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(text).collect(),
            Some(one) => text(one).map(|one| vec![one]),
        };
        texts.ok_or_else(|| self.fields.wrong(key, "a text or a list of texts, none of them empty"))
    }
}

/// A whole number, also one that is written as a float.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|v| v.fract() == 0.0 && v.abs() <= 9e15).map(|v| v as i64);
    value.as_i64().or_else(float)
}

/// A generation_config.json of the `general.sampling` keys of a GGUF file, if there are any.
pub(crate) fn of_gguf(values: [(&'static str, Option<Value>); 5]) -> Option<Value> {
    let given: Map<String, Value> =
        values.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect();
    if given.is_empty() {
        return None;
    }
    let mut all = given;
    all.insert(OF_GGUF.to_string(), Value::Bool(true));
    Some(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: Value) -> std::result::Result<Sampling, String> {
        let Value::Object(map) = json else { return Err("no object".into()) };
        let fields = Fields { file: "F", at: "", map: &map };
        Sampling::read(&fields, Family::Qwen3).map_err(|e| e.to_string())
    }

    /// `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty` of a file.
    fn values(json: Value) -> (f32, u32, f32, f32, f32) {
        let all = read(json).unwrap();
        (all.temperature, all.top_k, all.top_p, all.min_p, all.repetition_penalty)
    }

    #[test]
    fn files_mean_what_they_mean_to_transformers() {
        let qwen = json!({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05});
        assert_eq!(values(qwen), (0.6, 20, 0.95, 0.0, 1.05));
        assert_eq!(values(json!({"temperature": 0.6, "top_k": 20})), (0.0, 20, 1.0, 0.0, 1.0));
        assert_eq!(values(json!({"do_sample": null})), (0.0, 0, 1.0, 0.0, 1.0));
        assert_eq!(values(json!({"do_sample": true})), (1.0, TOP_K, 1.0, 0.0, 1.0));
        let all = read(
            json!({"do_sample": true, "stop_strings": "a", "max_new_tokens": 7.0, "suppress_tokens": [3]}),
        );
        let all = all.unwrap();
        assert_eq!(
            (all.stop, all.max_tokens, all.suppress_tokens),
            (vec!["a".to_string()], Some(7), vec![3])
        );
        assert_eq!((all.origins["top_k"].as_str(), all.origins["stop"].as_str()), (TRANSFORMERS, FILE));
    }

    #[test]
    fn off_is_written_in_several_ways() {
        let on = |key: &str, value: Value| {
            values(json!({"do_sample": true, "temperature": 0.5, "top_k": 9, key: value}))
        };
        for off in [json!(-1), json!(0), json!(-1.0), json!(0.0)] {
            assert_eq!(on("temperature", off.clone()).0, 0.0, "{off}");
            assert_eq!(on("top_k", off.clone()).1, 0, "{off}");
            assert_eq!(on("min_p", off.clone()).3, 0.0, "{off}");
            assert_eq!(on("repetition_penalty", off.clone()).4, 1.0, "{off}");
        }
        assert_eq!(
            (on("top_k", json!(50.0)).1, on("top_p", json!(-1)).2, on("top_p", json!(1)).2),
            (50, 1.0, 1.0)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (key, value) in [
            ("temperature", json!(1e39)),
            ("temperature", json!(-0.5)),
            ("temperature", json!("0.6")),
            ("temperature", json!(true)),
            ("top_k", json!(-5)),
            ("top_k", json!(2.5)),
            ("top_k", json!(1e20)),
            ("top_k", json!([20])),
            ("top_p", json!(1.5)),
            ("top_p", json!(-0.1)),
            ("min_p", json!(2)),
            ("repetition_penalty", json!(-2)),
            ("repetition_penalty", json!(1e6)),
            ("max_new_tokens", json!(-7)),
            ("do_sample", json!("yes")),
            ("do_sample", json!(1)),
            ("suppress_tokens", json!([-3])),
            ("suppress_tokens", json!(3)),
            ("stop_strings", json!([""])),
            ("stop_strings", json!(7)),
        ] {
            let message = read(json!({key: value.clone()})).unwrap_err();
            assert!(message.contains(key) && message.contains("expected"), "{key} {value}: {message}");
        }
    }

    #[test]
    fn families_without_a_file_have_defaults() {
        let qwen = Sampling::of_family(Family::Qwen3);
        assert_eq!((qwen.temperature, qwen.top_k, qwen.top_p, qwen.min_p), (0.6, 20, 0.95, 0.0));
        assert_eq!(qwen.without_thinking, Some((0.7, 0.8)));
        let llama = Sampling::of_family(Family::Llama);
        assert_eq!((llama.temperature, llama.top_k, llama.top_p, llama.min_p), (0.8, 40, 0.95, 0.05));
        assert!(llama.without_thinking.is_none() && llama.origins["min_p"] == FAMILY);
        let gguf = read(json!({OF_GGUF: true, "temperature": 0.3})).unwrap();
        assert_eq!((gguf.temperature, gguf.top_k, gguf.without_thinking), (0.3, 20, None));
        assert_eq!(
            (gguf.origins["temperature"].as_str(), gguf.origins["top_k"].as_str()),
            ("GGUF general.sampling", FAMILY)
        );
    }
}
