//! Meaning of every op but attention's parts: one small function each. In: an op and evaluated operands.
//! Out: its value.
//!
//! Invariant: fused ops are the composition that defines them, so that they round where their parts do.
//! Nothing here is made faster: this is what kernels are held against.

use crate::op::{Op, Slot};

use super::attention::{attention, causal_mask, repeat_kv, scores, softmax, weighted_sum};
use super::value::Value;
use super::Context;

/// One op on evaluated operands; their shapes obey the op's law.
pub(super) fn eval(op: Op, a: &[&Value], c: &mut Context) -> Value {
    let p = c.precision;
    match op {
        // `run` answers these two itself.
        Op::Input | Op::Weight(_) | Op::Absent => Value::zeros(0, 0),
        Op::Dequant => a[0].clone(),
        Op::ConcatRows => concat_weights(a[0], a[1]),
        Op::ScaleCols => scale_cols(a[0], a[1]).rounded(p),
        Op::Diagonal => diagonal(a[0], a[1]),
        Op::Embed => embed(a[0], c.tokens),
        Op::RmsNorm(eps) => scale_cols(&normalize(a[0], eps.get()), a[1]).rounded(p),
        Op::Normalize(eps) => normalize(a[0], eps.get()).rounded(p),
        Op::Linear => linear(a[0], a[1], a[2]).rounded(p),
        Op::NormLinear(eps) => {
            let x = eval(Op::Normalize(eps), &a[..1], c);
            eval(Op::Linear, &[&x, a[1], a[2]], c)
        }
        Op::LinearAdd => {
            let y = eval(Op::Linear, &a[..3], c);
            eval(Op::Add, &[a[3], &y], c)
        }
        Op::NormSwiglu(eps) => {
            let y = eval(Op::NormLinear(eps), a, c);
            eval(Op::Swiglu, &[&y], c)
        }
        Op::Swiglu => {
            let half = a[0].cols / 2;
            let gate = eval(Op::Silu, &[&a[0].columns(0, half)], c);
            eval(Op::Mul, &[&gate, &a[0].columns(half, half)], c)
        }
        Op::LmHead => linear(a[0], a[1], &Value::zeros(0, 0)).rounded(p),
        Op::NormLmHead(eps) => {
            let x = eval(Op::Normalize(eps), &a[..1], c);
            eval(Op::LmHead, &[&x, a[1]], c)
        }
        Op::SelectAdapter { rank, adapters } => select_adapter(a[0], rank as usize, adapters, c.adapter),
        Op::HeadNorm(eps) => head_norm(a[0], a[1], eps.get()).rounded(p),
        Op::Rope => rope(a[0], c).rounded(p),
        Op::HeadNormRope(eps) => {
            let x = eval(Op::HeadNorm(eps), a, c);
            eval(Op::Rope, &[&x], c)
        }
        Op::CacheAppend(slot) => c.append(slot, a[0]),
        Op::RepeatKv => repeat_kv(a[0], c),
        Op::Scores => scores(a[0], a[1], c).rounded(p),
        Op::CausalMask => causal_mask(a[0], c),
        Op::Softmax => softmax(a[0]).rounded(p),
        Op::WeightedSum => weighted_sum(a[0], a[1], c).rounded(p),
        Op::Attention => attention(a[0], a[1], a[2], c).rounded(p),
        Op::PrepareQkv(eps) => prepare_qkv(a, eps, c),
        Op::PreparedAttention => prepared_attention(a[0], c),
        Op::Silu => map(a[0], |x| x / (1.0 + (-x).exp())).rounded(p),
        Op::Mul => zip(a[0], a[1], |x, y| x * y).rounded(p),
        Op::Add => zip(a[0], a[1], |x, y| x + y).rounded(p),
        Op::Slice { start, len } => a[0].columns(start as usize, len as usize),
    }
}

fn map(x: &Value, f: impl Fn(f64) -> f64) -> Value {
    Value { rows: x.rows, cols: x.cols, data: x.data.iter().map(|&v| f(v)).collect() }
}

fn zip(x: &Value, y: &Value, f: impl Fn(f64, f64) -> f64) -> Value {
    let data = x.data.iter().zip(&y.data).map(|(&a, &b)| f(a, b)).collect();
    Value { rows: x.rows, cols: x.cols, data }
}

/// Vectors are stored as one row, so two of them join end to end rather than one below the other.
fn concat_weights(a: &Value, b: &Value) -> Value {
    let mut all = a.concat_rows(b);
    if a.rows == 1 && b.rows == 1 && a.cols != b.cols {
        (all.rows, all.cols) = (1, a.cols + b.cols);
    }
    all
}

fn scale_cols(w: &Value, g: &Value) -> Value {
    let mut out = w.clone();
    for r in 0..out.rows {
        for (v, g) in out.row_mut(r).iter_mut().zip(&g.data) {
            *v *= g;
        }
    }
    out
}

fn diagonal(a: &Value, b: &Value) -> Value {
    let mut out = Value::zeros(a.rows + b.rows, a.cols + b.cols);
    for r in 0..a.rows {
        out.row_mut(r)[..a.cols].copy_from_slice(a.row(r));
    }
    for r in 0..b.rows {
        out.row_mut(a.rows + r)[a.cols..].copy_from_slice(b.row(r));
    }
    out
}

/// Adapters count from 0; without one nothing is left.
fn select_adapter(x: &Value, rank: usize, adapters: u32, adapter: Option<u32>) -> Value {
    let mut out = x.clone();
    for r in 0..out.rows {
        for (block, columns) in out.row_mut(r).chunks_mut(rank).enumerate() {
            if adapter != Some(block as u32 % adapters) {
                columns.fill(0.0);
            }
        }
    }
    out
}

fn embed(w: &Value, tokens: &[u32]) -> Value {
    let data = tokens.iter().flat_map(|&t| w.row(t as usize).iter().copied()).collect();
    Value { rows: tokens.len(), cols: w.cols, data }
}

fn normalize_row(x: &[f64], eps: f32, out: &mut [f64]) {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(eps)).sqrt();
    for (o, v) in out.iter_mut().zip(x) {
        *o = v * scale;
    }
}

fn normalize(x: &Value, eps: f32) -> Value {
    let mut out = Value::zeros(x.rows, x.cols);
    for r in 0..x.rows {
        normalize_row(x.row(r), eps, out.row_mut(r));
    }
    out
}

/// `x · wᵀ + b`; b may be absent, a bias is one value per row of w.
fn linear(x: &Value, w: &Value, b: &Value) -> Value {
    let mut out = Value::zeros(x.rows, w.rows);
    for t in 0..x.rows {
        for n in 0..w.rows {
            let dot: f64 = x.row(t).iter().zip(w.row(n)).map(|(a, b)| a * b).sum();
            out.data[t * w.rows + n] = dot + b.data.get(n).copied().unwrap_or(0.0);
        }
    }
    out
}

fn head_norm(x: &Value, g: &Value, eps: f32) -> Value {
    let h = g.data.len();
    let heads = Value { rows: x.rows * x.cols / h, cols: h, data: x.data.clone() };
    let out = scale_cols(&normalize(&heads, eps), g);
    Value { rows: x.rows, cols: x.cols, data: out.data }
}

/// Row t stands at position `past + t`.
fn rope(x: &Value, c: &Context) -> Value {
    let half = c.inv_freq.len();
    let factor = f64::from(c.graph.rope.attention_factor());
    let mut out = x.clone();
    for t in 0..x.rows {
        let position = (c.past + t) as f32;
        for head in out.row_mut(t).chunks_mut(2 * half) {
            for i in 0..half {
                let (sin, cos) = f64::from(position * c.inv_freq[i]).sin_cos();
                let (re, im) = (head[i], head[half + i]);
                head[i] = (re * cos - im * sin) * factor;
                head[half + i] = (im * cos + re * sin) * factor;
            }
        }
    }
    out
}

/// q, k, v of a `[T, (H+2K)·h]` value.
fn split_qkv(y: &Value, c: &Context) -> [Value; 3] {
    let (q, kv) = (c.graph.dims.q_width() as usize, c.graph.dims.kv_width() as usize);
    [y.columns(0, q), y.columns(q, kv), y.columns(q + kv, kv)]
}

fn prepare_qkv(a: &[&Value], eps: crate::op::Eps, c: &mut Context) -> Value {
    let [q, k, v] = split_qkv(a[0], c);
    let mut rotated = |x: &Value, gain: &Value| match gain.data.is_empty() {
        true => eval(Op::Rope, &[x], c),
        false => eval(Op::HeadNormRope(eps), &[x, gain], c),
    };
    let (q, k) = (rotated(&q, a[1]), rotated(&k, a[2]));
    c.append(Slot::K, &k);
    c.append(Slot::V, &v);
    let rows = (0..q.rows).flat_map(|t| [q.row(t), k.row(t), v.row(t)].concat()).collect();
    Value { rows: q.rows, cols: a[0].cols, data: rows }
}

fn prepared_attention(prepared: &Value, c: &mut Context) -> Value {
    let [q, k, v] = split_qkv(prepared, c);
    let (k, v) = (c.cached[0].concat_rows(&k), c.cached[1].concat_rows(&v));
    eval(Op::Attention, &[&q, &k, &v], c)
}
