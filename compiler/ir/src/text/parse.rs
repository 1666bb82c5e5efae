//! Text to graph, line by line.
//!
//! In: the text form. Out: a graph with types inferred; stated types must agree. Not checked beyond
//! that: call [`verify`](crate::verify). Whatever `print.rs` writes is read here; a text from anywhere is
//! an error with its line, never a panic.

use crate::dims::Dims;
use crate::graph::{Graph, Section, SectionKind};
use crate::ids::{NodeId, WeightId};
use crate::layers::Layers;
use crate::op::{Eps, Op, Slot};
use crate::rope::{Rope, Scaling};
use qwenc_formats::DType;

/// Error: a text is not a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// 1-based.
    pub line: usize,
    /// Expectation and finding, in words.
    pub what: String,
}

type Parsed<T> = Result<T, String>;

/// Parses the text form.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut graph = Graph::new("", EMPTY, Rope::new(0.0));
    let mut section = None;
    for (i, line) in text.lines().enumerate() {
        let at = |what: String| ParseError { line: i + 1, what };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        section = match section {
            None => header(&mut graph, line).map_err(at)?,
            Some(kind) => node(&mut graph, kind, line).map_err(at)?,
        };
    }
    Ok(graph)
}

const EMPTY: Dims = Dims {
    layers: 0,
    hidden: 0,
    intermediate: 0,
    heads: 0,
    kv_heads: 0,
    head_dim: 0,
    vocab_rows: 0,
    context: 0,
};

fn header(g: &mut Graph, line: &str) -> Parsed<Option<SectionKind>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "graph" => g.name = quoted(rest)?.0,
        "dims" => g.dims = dims(rest)?,
        "rope" => g.rope = rope(rest)?,
        "weight" => weight(g, rest)?,
        "prologue" => return Ok(Some(SectionKind::Prologue)),
        "layers" => {
            let (layers, window) = layer_group(rest.trim_end_matches('{').trim_end())?;
            return Ok(Some(g.add_group(layers, window)));
        }
        "head" => return Ok(Some(SectionKind::Head)),
        _ => {
            return Err(format!(
                "expected graph, dims, rope, weight, prologue, layers or head, found {word:?}"
            ))
        }
    }
    Ok(None)
}

/// Layers and sliding window of a layer group, from what follows `layers` in its title.
pub fn layer_group(text: &str) -> Result<(Layers, Option<u32>), String> {
    let (layers, window) = match text.split_once(" window=") {
        Some((layers, window)) => (layers, Some(number(window)?)),
        None => (text, None),
    };
    Ok((layers.parse()?, window))
}

fn number<T: std::str::FromStr>(s: &str) -> Parsed<T> {
    s.parse().map_err(|_| format!("expected a number, found {s:?}"))
}

/// A string as `{:?}` quotes it, and what follows.
fn quoted(s: &str) -> Parsed<(String, &str)> {
    let inner = s.strip_prefix('"').ok_or_else(|| format!("expected a quoted string, found {s:?}"))?;
    let mut out = String::new();
    let mut chars = inner.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((out, inner[i + 1..].trim_start())),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, '0')) => out.push('\0'),
                Some((_, 'u')) => {
                    let digits: String = chars.by_ref().map(|(_, c)| c).take_while(|&c| c != '}').collect();
                    out.push(code_point(&digits)?);
                }
                Some((_, c @ ('"' | '\\' | '\''))) => out.push(c),
                _ => return Err("unknown escape in a quoted string".to_string()),
            },
            c => out.push(c),
        }
    }
    Err("a quoted string is not closed".to_string())
}

/// The character of `{301`, as it stands between `\u` and `}`.
fn code_point(digits: &str) -> Parsed<char> {
    let code = digits.strip_prefix('{').and_then(|d| u32::from_str_radix(d, 16).ok());
    code.and_then(char::from_u32)
        .ok_or_else(|| format!("expected a code point such as \\u{{301}}, found \\u{digits}}}"))
}

/// `key=value` fields, looked up by key.
fn field<T: std::str::FromStr>(s: &str, key: &str) -> Parsed<T> {
    let value = s.split(' ').find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    number(value.ok_or_else(|| format!("{key}= is missing"))?)
}

fn dims(s: &str) -> Parsed<Dims> {
    Ok(Dims {
        layers: field(s, "layers")?,
        hidden: field(s, "hidden")?,
        intermediate: field(s, "intermediate")?,
        heads: field(s, "heads")?,
        kv_heads: field(s, "kv_heads")?,
        head_dim: field(s, "head_dim")?,
        vocab_rows: field(s, "vocab_rows")?,
        context: field(s, "context")?,
    })
}

fn rope(s: &str) -> Parsed<Rope> {
    let scaling = match s.split(' ').nth(1) {
        None => Scaling::None,
        Some("linear") => Scaling::Linear { factor: field(s, "factor")? },
        Some("ntk") => Scaling::Ntk { factor: field(s, "factor")? },
        Some("yarn") => Scaling::Yarn {
            factor: field(s, "factor")?,
            original_context: field(s, "original_context")?,
            beta_fast: field(s, "beta_fast")?,
            beta_slow: field(s, "beta_slow")?,
            attention_factor: field(s, "attention_factor")?,
        },
        Some("llama3") => Scaling::Llama3 {
            factor: field(s, "factor")?,
            low: field(s, "low")?,
            high: field(s, "high")?,
            original_context: field(s, "original_context")?,
        },
        Some(other) => return Err(format!("expected linear, ntk, yarn or llama3, found {other:?}")),
    };
    Ok(Rope { theta: field(s, "theta")?, scaling })
}

fn weight(g: &mut Graph, s: &str) -> Parsed<()> {
    let (id, rest) = s.split_once(' ').ok_or("expected `weight @N \"name\" dtype[shape]`")?;
    let next = format!("@{}", g.weights.len());
    if id != next {
        return Err(format!("expected weight {next}, found {id}"));
    }
    let (name, rest) = quoted(rest)?;
    let (dtype, shape) =
        rest.strip_suffix(']').and_then(|r| r.split_once('[')).ok_or("expected `dtype[shape]`")?;
    let dtype: DType = dtype.parse().map_err(|()| format!("unknown dtype {dtype:?}"))?;
    let shape = shape.split(", ").map(number).collect::<Parsed<Vec<u32>>>()?;
    g.declare(&name, dtype, &shape);
    Ok(())
}

fn node(g: &mut Graph, kind: SectionKind, line: &str) -> Parsed<Option<SectionKind>> {
    if line == "}" {
        return Ok(None);
    }
    if let Some(root) = line.strip_prefix("return ") {
        g.section_mut(kind).root = Some(node_id(root)?);
        return Ok(Some(kind));
    }
    let (id, rest) = line.split_once(" = ").ok_or("expected `%N = op operands : type`")?;
    let (body, ty) = rest.split_once(" : ").ok_or("expected ` : type` after the operands")?;
    let next = NodeId(g.section(kind).nodes.len() as u32);
    if node_id(id)? != next {
        return Err(format!("expected {next}, found {id}"));
    }
    let (name, operands) = body.split_once(' ').unwrap_or((body, ""));
    let op = op(name, operands)?;
    let is_operand = |w: &&str| w.starts_with('%');
    let args = operands.split(' ').filter(is_operand).map(node_id).collect::<Parsed<Vec<_>>>()?;
    let id = g.push(kind, op, &args).map_err(|e| e.to_string())?;
    let (ty, label) = match ty.find(" \"") {
        Some(at) => (&ty[..at], Some(quoted(&ty[at + 1..])?.0)),
        None => (ty, None),
    };
    let section: &Section = g.section(kind);
    let inferred = section.node(id).ty.to_string();
    if inferred != ty {
        return Err(format!("{id}: stated type {ty}, but its operands make {inferred}"));
    }
    if let Some(label) = label {
        g.label(kind, id, &label);
    }
    Ok(Some(kind))
}

fn node_id(s: &str) -> Parsed<NodeId> {
    match s.strip_prefix('%').and_then(|n| n.parse().ok()) {
        Some(n) => Ok(NodeId(n)),
        None => Err(format!("expected a node such as %3, found {s:?}")),
    }
}

fn op(name: &str, operands: &str) -> Parsed<Op> {
    let eps = || field::<f32>(operands, "eps").map(Eps::new);
    Ok(match name {
        "input" => Op::Input,
        "weight" => match operands.strip_prefix('@').and_then(|n| n.parse().ok()) {
            Some(n) => Op::Weight(WeightId(n)),
            None => return Err(format!("expected a weight such as @3, found {operands:?}")),
        },
        "absent" => Op::Absent,
        "dequant" => Op::Dequant,
        "concat_rows" => Op::ConcatRows,
        "scale_cols" => Op::ScaleCols,
        "diagonal" => Op::Diagonal,
        "embed" => Op::Embed,
        "rms_norm" => Op::RmsNorm(eps()?),
        "linear" => Op::Linear,
        "head_norm" => Op::HeadNorm(eps()?),
        "rope" => Op::Rope,
        "cache_append_k" => Op::CacheAppend(Slot::K),
        "cache_append_v" => Op::CacheAppend(Slot::V),
        "repeat_kv" => Op::RepeatKv,
        "scores" => Op::Scores,
        "causal_mask" => Op::CausalMask,
        "softmax" => Op::Softmax,
        "weighted_sum" => Op::WeightedSum,
        "silu" => Op::Silu,
        "mul" => Op::Mul,
        "add" => Op::Add,
        "lm_head" => Op::LmHead,
        "select_adapter" => {
            Op::SelectAdapter { rank: field(operands, "rank")?, adapters: field(operands, "adapters")? }
        }
        "normalize" => Op::Normalize(eps()?),
        "slice" => Op::Slice { start: field(operands, "start")?, len: field(operands, "len")? },
        "swiglu" => Op::Swiglu,
        "linear_add" => Op::LinearAdd,
        "norm_linear" => Op::NormLinear(eps()?),
        "norm_swiglu" => Op::NormSwiglu(eps()?),
        "norm_lm_head" => Op::NormLmHead(eps()?),
        "head_norm_rope" => Op::HeadNormRope(eps()?),
        "attention" => Op::Attention,
        "prepare_qkv" => Op::PrepareQkv(eps()?),
        "prepared_attention" => Op::PreparedAttention,
        _ => return Err(format!("unknown op {name:?}")),
    })
}
