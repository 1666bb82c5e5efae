//! What each op costs per token in decode.
//!
//! In: an op and the types of operands and result. Out: its [`Work`]. Invariant: what is evaluated
//! when weights are packed costs nothing; everything else reads its operands from memory and writes
//! its result there, once. Here is what an op asks; how fast a machine answers is in `machine.rs`.

use qwenc_ir::{Elements, Extent, Graph, Op, Section, Type};

use crate::machine::Work;

/// Tokens in a step of decode.
const TOKENS: u64 = 1;
/// Cached positions: a conversation, not an empty cache, where attention would look free.
const CACHED: u64 = 512;

/// Operations per element of what is not a dot product; only their order of magnitude matters.
const NORM_OPS: u64 = 4;
const ROPE_OPS: u64 = 6;
const SOFTMAX_OPS: u64 = 8;
const SILU_OPS: u64 = 8;

/// Whether backends run this op, or it is gone once weights are packed. Of the others rules make something else.
pub(crate) fn has_kernel(op: Op) -> bool {
    match op {
        Op::Input | Op::Weight(_) | Op::Absent | Op::ConcatRows | Op::ScaleCols | Op::Diagonal => true,
        Op::Embed
        | Op::Linear
        | Op::LinearAdd
        | Op::NormLinear(_)
        | Op::NormSwiglu(_)
        | Op::LmHead
        | Op::NormLmHead(_)
        | Op::PrepareQkv(_)
        | Op::PreparedAttention
        | Op::SelectAdapter { .. }
        | Op::Swiglu => true,
        Op::RmsNorm(_)
        | Op::Normalize(_)
        | Op::HeadNorm(_)
        | Op::HeadNormRope(_)
        | Op::Rope
        | Op::Scores
        | Op::Softmax
        | Op::WeightedSum
        | Op::Attention
        | Op::Silu
        | Op::Mul
        | Op::Add
        | Op::CausalMask
        | Op::Dequant
        | Op::CacheAppend(_)
        | Op::RepeatKv
        | Op::Slice { .. } => false,
    }
}

impl Work {
    /// One section, each node once.
    pub(crate) fn of_section(section: &Section, graph: &Graph) -> Work {
        let mut sum = Work::default();
        for node in &section.nodes {
            let operands: Vec<&Type> = node.args.iter().map(|&a| &section.node(a).ty).collect();
            sum += Work::of(node.op, &operands, &node.ty, graph.dims.head_dim);
        }
        sum
    }

    /// One op.
    pub(crate) fn of(op: Op, operands: &[&Type], result: &Type, head_dim: u32) -> Work {
        match op {
            Op::Input | Op::Weight(_) | Op::Absent | Op::ConcatRows | Op::ScaleCols | Op::Diagonal => {
                Work::default()
            }
            _ => {
                let bytes = traffic(op, operands, result);
                let (f32_ops, int8_ops) = operations(op, operands, result, u64::from(head_dim));
                Work { bytes, f32_ops, int8_ops, launches: 1, ..Work::default() }
            }
        }
    }
}

fn elements(ty: &Type) -> u64 {
    let length = |e: &Extent| match e {
        Extent::Fixed(n) => u64::from(*n),
        Extent::Tokens => TOKENS,
        Extent::Cache => CACHED,
    };
    if ty.is_absent() {
        return 0;
    }
    ty.shape.iter().map(length).product()
}

fn bytes(ty: &Type) -> u64 {
    let cols = ty.matrix().map_or(1, |(_, cols)| u64::from(cols));
    match &ty.elements {
        // Activations among them.
        Elements::One(dtype) if cols == 1 => dtype.bytes(elements(ty)),
        Elements::One(dtype) => dtype.matrix_bytes(elements(ty) / cols, cols),
        Elements::Runs(runs) => runs.iter().map(|(d, rows)| d.matrix_bytes(u64::from(*rows), cols)).sum(),
    }
}

fn traffic(op: Op, operands: &[&Type], result: &Type) -> u64 {
    let once: u64 = operands.iter().map(|ty| bytes(ty)).sum::<u64>() + bytes(result);
    match op {
        // A row of the table, and some columns: as much is read as written.
        Op::Embed | Op::Slice { .. } => 2 * bytes(result),
        // The new rows are copied; those that are cached stay where they are.
        Op::CacheAppend(_) => 2 * bytes(operands[0]),
        // Operand p is q | k | v of one token; q is as wide as the result, so k and v are the rest.
        Op::PreparedAttention => once + (bytes(operands[0]) - bytes(result)) * (CACHED - TOKENS),
        _ => once,
    }
}

/// `(f32, int8)` operations.
fn operations(op: Op, operands: &[&Type], result: &Type, head_dim: u64) -> (u64, u64) {
    let out = elements(result);
    let first = operands.first().map_or(0, |ty| elements(ty));
    match op {
        Op::Linear | Op::LmHead => dot_products(operands[1], 0),
        Op::LinearAdd => dot_products(operands[1], out),
        Op::NormLinear(_) | Op::NormLmHead(_) => dot_products(operands[1], NORM_OPS * first),
        Op::NormSwiglu(_) => dot_products(operands[1], NORM_OPS * first + (SILU_OPS + 1) * out),
        Op::RmsNorm(_) | Op::Normalize(_) | Op::HeadNorm(_) => (NORM_OPS * out, 0),
        Op::Rope => (ROPE_OPS * out, 0),
        Op::HeadNormRope(_) | Op::PrepareQkv(_) => ((NORM_OPS + ROPE_OPS) * out, 0),
        Op::Scores => (2 * out * head_dim, 0),
        Op::Softmax => (SOFTMAX_OPS * out, 0),
        Op::WeightedSum => (2 * first * head_dim, 0),
        Op::Attention | Op::PreparedAttention => (attention(out, head_dim), 0),
        Op::Silu => (SILU_OPS * out, 0),
        Op::Swiglu => ((SILU_OPS + 1) * out, 0),
        Op::Mul | Op::Add | Op::CausalMask | Op::Dequant => (out, 0),
        Op::Input
        | Op::Weight(_)
        | Op::Absent
        | Op::ConcatRows
        | Op::ScaleCols
        | Op::Diagonal
        | Op::Embed
        | Op::SelectAdapter { .. }
        | Op::CacheAppend(_)
        | Op::RepeatKv
        | Op::Slice { .. } => (0, 0),
    }
}

/// `w[n, k]` against one token, and `more` operations in f32.
fn dot_products(w: &Type, more: u64) -> (u64, u64) {
    let (rows, cols) = w.matrix().unwrap_or_default();
    let mut sum = (more, 0);
    for (dtype, rows) in w.elements.runs(rows) {
        let ops = 2 * TOKENS * u64::from(rows) * u64::from(cols);
        // By the form of inputs that the weights meet; what no kernel reads is converted to f32.
        match dtype.operand().map_or(0, |operand| operand.exact_inputs().planes()) {
            0 => sum.0 += ops,
            _ => sum.1 += ops,
        }
    }
    sum
}

/// `out` is `T · H · h`: for each of `T · H · S` scores, two dot products' worth of h, and a softmax.
fn attention(out: u64, head_dim: u64) -> u64 {
    let scores = out / head_dim * CACHED;
    scores * (4 * head_dim + SOFTMAX_OPS)
}
