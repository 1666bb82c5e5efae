//! Facts and tensors that a GGUF file lists, of supported models and others.
//!
//! In: a file. Out: facts about the model, and its tensors in their stored types. Invariant: only keys and the list of
//! tensors are read, never tensor data; nothing is refused that can be told.

use super::super::Foreign;
use super::values::{self, Rest, Stored, Values};
use crate::error::Result;
use crate::inspection::{fact, HeaderField};
use crate::tensor_stats::TensorSummary;

/// Types of ggml: number, name, values and bytes of a block.
const TYPES: [(u32, &str, usize, usize); 33] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
];

/// Most axes of a tensor.
const MOST_AXES: u64 = 8;
/// Keys of an architecture, and the facts that they are.
const FACTS: [(&str, &str); 8] = [
    ("block_count", "layers"),
    ("embedding_length", "hidden size"),
    ("feed_forward_length", "MLP size"),
    ("attention.head_count", "heads"),
    ("attention.head_count_kv", "KV heads"),
    ("attention.key_length", "head size"),
    ("expert_count", "experts"),
    ("context_length", "context"),
];

/// Facts, and tensors as far as they can be listed.
pub(in crate::import) fn overview(source: &Foreign) -> (Vec<HeaderField>, Vec<TensorSummary>) {
    let Ok((values, rest)) = values::read(source) else { return Default::default() };
    let facts = facts(&values);
    (facts, tensors(&values, rest).unwrap_or_default())
}

fn facts(values: &Values) -> Vec<HeaderField> {
    let shown = |key: &str| match values.get(key)? {
        Stored::Integer(n) => Some(n.to_string()),
        Stored::Float(v) => Some(v.to_string()),
        Stored::Flag(flag) => Some(flag.to_string()),
        Stored::Text(text) => Some(text.chars().filter(|c| !c.is_control()).take(100).collect()),
        Stored::Integers(all) => all.first().map(|first| format!("{first}, and others in other layers")),
        _ => None,
    };
    let architecture = shown("general.architecture");
    let key = |part: &str| format!("{}.{part}", architecture.as_deref().unwrap_or_default());
    let mut facts = Vec::new();
    facts.extend(shown("general.name").map(|name| fact("name", name)));
    facts.extend(architecture.clone().map(|architecture| fact("architecture", architecture)));
    facts.extend(FACTS.iter().filter_map(|(part, name)| Some(fact(name, shown(&key(part))?))));
    let tokens = match values.get("tokenizer.ggml.tokens") {
        Some(Stored::Texts(tokens)) => Some(tokens.len()),
        _ => None,
    };
    let words =
        [shown("tokenizer.ggml.model"), shown("tokenizer.ggml.pre"), tokens.map(|n| format!("{n} tokens"))];
    let words: Vec<String> = words.into_iter().flatten().collect();
    let words = if words.is_empty() { "none".to_string() } else { words.join(", ") };
    facts.push(fact("tokenizer", words));
    facts
}

/// The list of tensors; sizes that no file can have are left at 0.
fn tensors(values: &Values, mut rest: Rest) -> Result<Vec<TensorSummary>> {
    let mut all = Vec::new();
    for i in 0..values.tensors {
        let name = rest.text(&format!("name of tensor {i}"))?;
        let axes = rest.unsigned(4, name)?.min(MOST_AXES);
        let mut shape = Vec::new();
        for _ in 0..axes {
            shape.insert(0, rest.unsigned(8, name)? as usize);
        }
        let number = rest.unsigned(4, name)? as u32;
        let offset = rest.unsigned(8, name)? as usize;
        let known = TYPES.iter().find(|(n, ..)| *n == number);
        let elements = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        let bytes = known.zip(elements).and_then(|((_, _, block, each), n)| (n / block).checked_mul(*each));
        let dtype = known.map_or(format!("type {number}"), |(_, name, ..)| name.to_string());
        all.push(TensorSummary::unread(name, dtype, (shape, offset, bytes.unwrap_or(0))));
    }
    let align = values.u32("general.alignment").ok().flatten().filter(|n| n.is_power_of_two()).unwrap_or(32);
    let start = rest.at.next_multiple_of(align as usize);
    for tensor in &mut all {
        tensor.offset = tensor.offset.saturating_add(start);
    }
    all.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    Ok(all)
}
