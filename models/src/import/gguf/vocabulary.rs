//! The vocabulary of a GGUF file. In: values. Out: a tokenizer.json, stop tokens, the texts of bos and eos.
//! Invariant: a tokenizer whose way to split text is not known here is refused by name.

use super::super::byte_level::{self, Around};
use super::super::sentencepiece::{self, Kind, Piece};
use super::super::splits::Splits;
use super::super::Foreign;
use super::values::Values;
use crate::error::Result;

/// Vocabulary of a file.
#[derive(Default)]
pub(super) struct Vocabulary {
    pub tokenizer: Option<String>,
    pub stop_tokens: Vec<u32>,
    pub bos_text: Option<String>,
    pub eos_text: Option<String>,
}

/// Control tokens that end a turn or a text.
const ENDS: [&str; 5] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"];

/// Reads it; a file without tokens is a model without a tokenizer.
pub(super) fn read(source: &Foreign, values: &Values) -> Result<Vocabulary> {
    let Some(tokens) = values.texts("tokenizer.ggml.tokens")? else { return Ok(Vocabulary::default()) };
    let kinds = kinds(source, values, tokens.len())?;
    let id = |name: &str| -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let found = values.u32(&key)?;
        match found.filter(|&id| id as usize >= tokens.len()) {
            None => Ok(found),
            Some(id) => Err(source.wrong(&key, format!("an id below {}", tokens.len()), id)),
        }
    };
    let mut stop_tokens = Vec::new();
    for name in ["eos", "eot", "eom"] {
        stop_tokens.extend(id(name)?);
    }
    let ends = |(_, (token, kind)): &(u32, (&&str, &Kind))| **kind == Kind::Control && ENDS.contains(token);
    stop_tokens.extend((0u32..).zip(tokens.iter().zip(&kinds)).filter(ends).map(|(id, _)| id));
    let model = values.text("tokenizer.ggml.model")?.unwrap_or("none");
    let ids = Around { bos: id("bos")?, eos: id("eos")? };
    let json = match model {
        "llama" => {
            let pieces = pieces(source, values, tokens, &kinds)?;
            let prefix = values.flag("tokenizer.ggml.add_space_prefix", true)?;
            let around = around(values, ids, true)?;
            sentencepiece::Vocabulary { pieces, around, prefix }.tokenizer_json()
        }
        "gpt2" => byte_level(source, values, tokens, (&kinds, ids))?.tokenizer_json(),
        other => return Err(source.unsupported(format!("tokenizer.ggml.model {other:?}"), "llama, gpt2")),
    };
    let text = |id: Option<u32>| id.map(|id| tokens[id as usize].to_string());
    Ok(Vocabulary {
        tokenizer: Some(json.to_string()),
        stop_tokens,
        bos_text: text(ids.bos),
        eos_text: text(ids.eos),
    })
}

/// The tokens that stand around every prompt; `bos` says whether one comes first where the file does not say it.
fn around(values: &Values, ids: Around, bos: bool) -> Result<Around> {
    let first = values.flag("tokenizer.ggml.add_bos_token", bos)?;
    let last = values.flag("tokenizer.ggml.add_eos_token", false)?;
    for (name, wanted, id) in [("bos", first, ids.bos), ("eos", last, ids.eos)] {
        let add = format!("tokenizer.ggml.add_{name}_token");
        if wanted && id.is_none() && values.get(&add).is_some() {
            return Err(values.missing(
                &format!("tokenizer.ggml.{name}_token_id"),
                &format!("an id, since {add} is true"),
            ));
        }
    }
    Ok(Around { bos: ids.bos.filter(|_| first), eos: ids.eos.filter(|_| last) })
}

/// Kind of each token; without a list all are normal.
fn kinds(source: &Foreign, values: &Values, count: usize) -> Result<Vec<Kind>> {
    let key = "tokenizer.ggml.token_type";
    let Some(numbers) = values.integers(key)? else { return Ok(vec![Kind::Normal; count]) };
    if numbers.len() != count {
        return Err(source.wrong(key, format!("{count} entries, one per token"), numbers.len()));
    }
    let kind = |&n: &i128| match n {
        1 => Ok(Kind::Normal),
        2 => Ok(Kind::Unknown),
        3 => Ok(Kind::Control),
        4 => Ok(Kind::User),
        5 => Ok(Kind::Unused),
        6 => Ok(Kind::Byte),
        _ => Err(source.wrong(key, "1 to 6", n)),
    };
    numbers.iter().map(kind).collect()
}

fn pieces(source: &Foreign, values: &Values, tokens: &[&str], kinds: &[Kind]) -> Result<Vec<Piece>> {
    let key = "tokenizer.ggml.scores";
    let scores = values.floats(key)?.ok_or_else(|| values.missing(key, "a score for each token"))?;
    if scores.len() != tokens.len() {
        return Err(source.wrong(key, format!("{} entries, one per token", tokens.len()), scores.len()));
    }
    let piece = |((text, kind), score): ((&&str, &Kind), &f64)| Piece {
        text: text.to_string(),
        score: *score as f32,
        kind: *kind,
    };
    Ok(tokens.iter().zip(kinds).zip(scores).map(piece).collect())
}

fn byte_level(
    source: &Foreign,
    values: &Values,
    tokens: &[&str],
    (kinds, ids): (&[Kind], Around),
) -> Result<byte_level::Vocabulary> {
    let name = values.text("tokenizer.ggml.pre")?.unwrap_or("none");
    let Some(splits) = Splits::named(name) else {
        return Err(source.unsupported(format!("tokenizer.ggml.pre {name:?}"), Splits::names()));
    };
    let key = "tokenizer.ggml.merges";
    let merges = values.texts(key)?.ok_or_else(|| values.missing(key, "a list of pairs"))?;
    let pair = |merge: &&str| {
        let pair = merge.split_once(' ').map(|(l, r)| (l.to_string(), r.to_string()));
        pair.ok_or_else(|| source.wrong(key, "two pieces with a space between", format!("{merge:?}")))
    };
    let merges = merges.iter().map(pair).collect::<Result<Vec<_>>>()?;
    let tokens = tokens.iter().zip(kinds).map(|(text, kind)| (text.to_string(), *kind)).collect();
    Ok(byte_level::Vocabulary { tokens, merges, splits, around: around(values, ids, splits.bos)? })
}
