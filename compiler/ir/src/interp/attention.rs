//! Meaning of the parts of attention, and of its streaming form. In: evaluated q, k, v, scores. Out: values;
//! `[T, H, S]` scores are `[T · H, S]` values.
//!
//! Written to be read against the formulas of `op.rs`: nothing here is made faster.

use super::value::Value;
use super::Context;

/// The first kv head's column of query head `j`, in a value of `n` heads.
fn kv_column(j: usize, width: usize, c: &Context) -> usize {
    let (heads, h) = (c.graph.dims.heads as usize, c.graph.dims.head_dim as usize);
    let n = width / h;
    j * n / heads * h
}

fn scale(c: &Context) -> f64 {
    1.0 / f64::from(c.graph.dims.head_dim).sqrt()
}

/// Positions that the query at position `i` sees: `first ..= i`.
fn first_visible(i: usize, c: &Context) -> usize {
    match c.window {
        Some(window) => (i + 1).saturating_sub(window as usize),
        None => 0,
    }
}

pub(super) fn repeat_kv(x: &Value, c: &Context) -> Value {
    let (heads, h) = (c.graph.dims.heads as usize, c.graph.dims.head_dim as usize);
    let mut out = Value::zeros(x.rows, heads * h);
    for s in 0..x.rows {
        for j in 0..heads {
            let from = kv_column(j, x.cols, c);
            out.row_mut(s)[j * h..(j + 1) * h].copy_from_slice(&x.row(s)[from..from + h]);
        }
    }
    out
}

pub(super) fn scores(q: &Value, k: &Value, c: &Context) -> Value {
    let (heads, h) = (c.graph.dims.heads as usize, c.graph.dims.head_dim as usize);
    let mut out = Value::zeros(q.rows * heads, k.rows);
    for t in 0..q.rows {
        for j in 0..heads {
            let at = kv_column(j, k.cols, c);
            let query = &q.row(t)[j * h..(j + 1) * h];
            for s in 0..k.rows {
                let dot: f64 = query.iter().zip(&k.row(s)[at..at + h]).map(|(a, b)| a * b).sum();
                out.row_mut(t * heads + j)[s] = dot * scale(c);
            }
        }
    }
    out
}

pub(super) fn causal_mask(s: &Value, c: &Context) -> Value {
    let heads = c.graph.dims.heads as usize;
    let mut out = s.clone();
    for r in 0..s.rows {
        let i = c.past + r / heads;
        let first = first_visible(i, c);
        for (j, v) in out.row_mut(r).iter_mut().enumerate() {
            if j > i || j < first {
                *v = f64::NEG_INFINITY;
            }
        }
    }
    out
}

pub(super) fn softmax(s: &Value) -> Value {
    let mut out = s.clone();
    for r in 0..s.rows {
        let row = out.row_mut(r);
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|v| *v = (*v - max).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    out
}

pub(super) fn weighted_sum(p: &Value, v: &Value, c: &Context) -> Value {
    let (heads, h) = (c.graph.dims.heads as usize, c.graph.dims.head_dim as usize);
    let mut out = Value::zeros(p.rows / heads, heads * h);
    for r in 0..p.rows {
        let (t, j) = (r / heads, r % heads);
        let at = kv_column(j, v.cols, c);
        for s in 0..v.rows {
            for i in 0..h {
                out.row_mut(t)[j * h + i] += p.row(r)[s] * v.row(s)[at + i];
            }
        }
    }
    out
}

/// Running maximum `m`, sum `l` and accumulator, rescaled when the maximum grows.
pub(super) fn attention(q: &Value, k: &Value, v: &Value, c: &Context) -> Value {
    let (heads, h) = (c.graph.dims.heads as usize, c.graph.dims.head_dim as usize);
    let mut out = Value::zeros(q.rows, heads * h);
    for t in 0..q.rows {
        let i = c.past + t;
        for j in 0..heads {
            let at = kv_column(j, k.cols, c);
            let query = &q.row(t)[j * h..(j + 1) * h];
            let (mut m, mut l, mut acc) = (f64::NEG_INFINITY, 0.0, vec![0.0; h]);
            for s in first_visible(i, c)..=i {
                let dot: f64 = query.iter().zip(&k.row(s)[at..at + h]).map(|(a, b)| a * b).sum();
                let score = dot * scale(c);
                let grown = score.max(m);
                let (keep, p) = ((m - grown).exp(), (score - grown).exp());
                m = grown;
                l = l * keep + p;
                for (a, v) in acc.iter_mut().zip(&v.row(s)[at..at + h]) {
                    *a = *a * keep + p * v;
                }
            }
            for (o, a) in out.row_mut(t)[j * h..(j + 1) * h].iter_mut().zip(&acc) {
                *o = a / l;
            }
        }
    }
    out
}
