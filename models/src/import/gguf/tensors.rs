//! The tensors of a GGUF file.
//!
//! In: the list after the values. Out: for each tensor its place, under its name in a Hugging Face checkpoint.
//! Invariant: every range lies in the file, none overlaps another, rows are whole blocks; a type that is not read
//! is refused by name.

use std::collections::HashMap;
use std::ops::Range;

use qwenc_formats::{DType, ScaleType};
use safetensors::Dtype;

use super::super::Foreign;
use super::values::{Rest, Values};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::family::Family;
use crate::packing::{Packing, SMALL_BLOCK};
use crate::payload::Entry;
use crate::weights::{Form, Order, Weights};

/// Scales and frequencies that `config.rs` reads, not a part of the model's tensors.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A tensor as listed.
pub(in crate::import) struct Info {
    /// Slowest axis first.
    pub shape: Vec<u64>,
    kind: Kind,
    pub range: Range<usize>,
}

/// The types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float(Dtype),
    Q8,
    Q4,
    /// Blocks with their scales within.
    Blocks(DType),
}

fn kind(source: &Foreign, tensor: &str, number: u64) -> Result<Kind> {
    Ok(match number {
        0 => Kind::Float(Dtype::F32),
        1 => Kind::Float(Dtype::F16),
        30 => Kind::Float(Dtype::BF16),
        2 => Kind::Q4,
        3 => Kind::Blocks(DType::Q4_1),
        8 => Kind::Q8,
        12 => Kind::Blocks(DType::Q4K),
        13 => Kind::Blocks(DType::Q5K),
        14 => Kind::Blocks(DType::Q6K),
        _ => {
            let names = [(6, "Q5_0"), (7, "Q5_1"), (9, "Q8_1"), (10, "Q2_K"), (11, "Q3_K"), (15, "Q8_K")];
            let name = names.iter().find(|(n, _)| *n == number).map(|(_, name)| format!(" ({name})"));
            let what = format!("tensor {tensor} of type {number}{}", name.unwrap_or_default());
            return Err(source.unsupported(what, "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K"));
        }
    })
}

impl Kind {
    /// Values and bytes of a block.
    fn block(self) -> (u64, u64) {
        let packed = match self {
            Kind::Float(Dtype::F32) => return (1, 4),
            Kind::Float(_) => return (1, 2),
            Kind::Q8 => Packing::Q8Integers,
            Kind::Q4 => Packing::Q4Integers,
            Kind::Blocks(dtype) => return dtype.block(),
        };
        packed.block().map_or((1, 1), |(values, bytes)| (values as u64, bytes as u64))
    }
}

/// A tensor's name, shape, type and offset within the data.
type Listed<'a> = (&'a str, Vec<u64>, Kind, u64);

fn listed<'a>(source: &Foreign, rest: &mut Rest<'a>, i: u64) -> Result<Listed<'a>> {
    let name = rest.text(&format!("name of tensor {i}"))?;
    let axes = rest.unsigned(4, name)?;
    if !(1..=2).contains(&axes) {
        return Err(source.wrong(&format!("tensor {name}: number of axes"), "1 or 2", axes));
    }
    let mut shape = Vec::new();
    for _ in 0..axes {
        shape.insert(0, rest.unsigned(8, name)?);
    }
    let kind = kind(source, name, rest.unsigned(4, name)?)?;
    Ok((name, shape, kind, rest.unsigned(8, name)?))
}

/// Every tensor, its range checked.
pub(super) fn infos<'a>(
    source: &Foreign,
    values: &Values,
    rest: &mut Rest<'a>,
) -> Result<HashMap<&'a str, Info>> {
    if let Some(parts) = values.u32("split.count")?.filter(|&n| n > 1) {
        let what = format!("a model in {parts} files");
        return Err(source.unsupported(what, "one file: join them with llama-gguf-split --merge"));
    }
    let mut all = Vec::new();
    for i in 0..values.tensors {
        all.push(listed(source, rest, i)?);
    }
    let align = u64::from(values.u32("general.alignment")?.unwrap_or(32));
    if !align.is_power_of_two() || align > 1 << 20 {
        return Err(source.wrong("general.alignment", "a power of 2 up to 1048576", align));
    }
    let start = (rest.at as u64).next_multiple_of(align);
    let mut infos = HashMap::new();
    for (name, shape, kind, offset) in all {
        let range = range(source, name, (&shape, kind), (start, offset, align))?;
        if infos.insert(name, Info { shape, kind, range }).is_some() {
            return Err(source.wrong(&format!("tensor {name}"), "one of that name", "two"));
        }
    }
    apart(source, &infos)?;
    Ok(infos)
}

fn range(
    source: &Foreign,
    name: &str,
    (shape, kind): (&[u64], Kind),
    (start, offset, align): (u64, u64, u64),
) -> Result<Range<usize>> {
    let (values, bytes) = kind.block();
    let cols = shape.last().copied().unwrap_or(0);
    if cols == 0 || cols % values != 0 {
        return Err(source.wrong(
            &format!("tensor {name}: length of rows"),
            format!("a multiple of {values}"),
            cols,
        ));
    }
    if offset % align != 0 {
        return Err(source.wrong(
            &format!("tensor {name}: offset"),
            format!("a multiple of {align}"),
            offset,
        ));
    }
    let rows = if shape.len() == 2 { shape[0] } else { 1 };
    let length = (cols / values).checked_mul(bytes).and_then(|row| row.checked_mul(rows));
    let from = start.checked_add(offset);
    let to = from.zip(length).and_then(|(from, length)| from.checked_add(length));
    match (from, to) {
        (Some(from), Some(to)) if to <= source.map.len() as u64 => Ok(from as usize..to as usize),
        _ => {
            let expected = format!("an end within the file's {} bytes", source.map.len());
            let found = format!("{shape:?} from data offset {offset} on; was the file cut?");
            Err(source.wrong(&format!("tensor {name}"), expected, found))
        }
    }
}

fn apart(source: &Foreign, infos: &HashMap<&str, Info>) -> Result<()> {
    let mut ranges: Vec<_> = infos.iter().map(|(name, i)| (i.range.start, i.range.end, *name)).collect();
    ranges.sort_unstable();
    match ranges.windows(2).find(|w| w[0].1 > w[1].0) {
        None => Ok(()),
        Some(w) => {
            let (first, second) = (w[0].2, w[1].2);
            Err(source.wrong(
                &format!("tensor {second}"),
                format!("an offset after {first}"),
                "the two overlap",
            ))
        }
    }
}

/// Names within a block, and in a Hugging Face checkpoint.
const BLOCK: [(&str, &str); 14] = [
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_q_norm.weight", "self_attn.q_norm.weight"),
    ("attn_k_norm.weight", "self_attn.k_norm.weight"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
];

/// The name in a Hugging Face checkpoint; one that no model here has stays as it is.
fn usual_name(name: &str) -> String {
    let in_block = |rest: &str| {
        let (layer, part) = rest.split_once('.')?;
        let (_, usual) = BLOCK.iter().find(|(own, _)| *own == part)?;
        Some(format!("model.layers.{layer}.{usual}"))
    };
    match name {
        "token_embd.weight" => "model.embed_tokens.weight".to_string(),
        "output_norm.weight" => "model.norm.weight".to_string(),
        "output.weight" => "lm_head.weight".to_string(),
        _ => name.strip_prefix("blk.").and_then(in_block).unwrap_or(name.to_string()),
    }
}

/// Places of all tensors of the model.
pub(super) fn places(source: &Foreign, infos: &HashMap<&str, Info>, config: &Config) -> Result<Weights> {
    let mut weights = Weights::default();
    for (name, info) in infos.iter().filter(|(name, _)| **name != ROPE_FACTORS) {
        let paired = config.family == Family::Llama
            && ["attn_q.weight", "attn_k.weight"].iter().any(|e| name.ends_with(e));
        let order = match paired {
            true => Order::Pairs { head_dim: config.dims.head_dim as usize },
            false => Order::Usual,
        };
        if paired && info.shape[0] % u64::from(config.dims.head_dim) != 0 {
            let expected = format!("rows in heads of {}", config.dims.head_dim);
            return Err(source.wrong(&format!("tensor {name}"), expected, format!("{:?}", info.shape)));
        }
        place(&mut weights, source, (name, info), order)?;
    }
    Ok(weights)
}

fn place(weights: &mut Weights, source: &Foreign, (name, info): (&str, &Info), order: Order) -> Result<()> {
    let usual = usual_name(name);
    if weights.tensors.contains_key(&usual) {
        return Err(source.wrong(&format!("tensor {usual}"), "one of that name", "two, under two names"));
    }
    let shape: Vec<usize> = info.shape.iter().map(|&n| n as usize).collect();
    let entry = |dtype, shape: &[usize]| Entry { dtype, shape: shape.to_vec(), range: info.range.clone() };
    let form = |packing| Form { packing, order };
    match (info.kind, &shape[..]) {
        (Kind::Float(dtype), _) => weights.add(&usual, entry(dtype, &shape), form(Packing::Plain)),
        (Kind::Blocks(dtype), &[rows, cols]) => {
            let entry = entry(Dtype::U8, &[rows, dtype.bytes(cols as u64) as usize]);
            weights.add_blocks(&usual, dtype, entry, form(Packing::Plain));
        }
        (kind @ (Kind::Q8 | Kind::Q4), &[rows, cols]) => {
            let (group, scales) = (SMALL_BLOCK as u32, ScaleType::F16);
            let (dtype, integers, packing, packed_scales) = match kind {
                Kind::Q8 => {
                    let integers = entry(Dtype::I8, &[rows, cols]);
                    (DType::I8 { group, scales }, integers, Packing::Q8Integers, Packing::Q8Scales)
                }
                _ => {
                    let integers = entry(Dtype::U8, &[rows, cols / 2]);
                    (DType::I4 { group, scales }, integers, Packing::Q4Integers, Packing::Q4Scales)
                }
            };
            let scales = entry(Dtype::F16, &[rows, cols / SMALL_BLOCK]);
            weights.add_quantised(&usual, dtype, (integers, form(packing)), (scales, form(packed_scales)));
        }
        (_, other) => {
            return Err::<(), Error>(source.wrong(
                &format!("tensor {name}"),
                "a matrix, since it is quantised",
                format!("{other:?}"),
            ));
        }
    }
    Ok(())
}
