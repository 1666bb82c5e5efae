//! Types and the shape law of every op.
//!
//! In: an op and its operands' types. Out: the result's type, or which law was broken. Invariant:
//! this is the only place that knows shape laws; builder, parser, checker and e-graph all ask [`infer`].
//! A new op is an arm in `law`, made of the laws of its parts.

use std::fmt;

use crate::dims::Dims;
use crate::ids::{NodeId, WeightId};
use crate::op::Op;
use crate::weights::WeightDecl;
use qwenc_formats::DType;

/// One axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extent {
    /// Known when compiling.
    Fixed(u32),
    /// `T`, the tokens of the step.
    Tokens,
    /// `S`, the cached positions including the step's.
    Cache,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Fixed(n) => write!(f, "{n}"),
            Extent::Tokens => f.write_str("T"),
            Extent::Cache => f.write_str("S"),
        }
    }
}

/// Storage formats of a constant's rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Elements {
    /// One format.
    One(DType),
    /// Rows of several formats: each with its number of rows, no two neighbours alike. Of a vector, elements.
    Runs(Vec<(DType, u32)>),
}

impl Elements {
    /// Formats and numbers of rows, of `rows` in all.
    pub fn runs(&self, rows: u32) -> Vec<(DType, u32)> {
        match self {
            Elements::One(dtype) => vec![(*dtype, rows)],
            Elements::Runs(runs) => runs.clone(),
        }
    }

    /// Rows of the first below which stand those of the second.
    fn joined((a, rows_a): (&Elements, u32), (b, rows_b): (&Elements, u32)) -> Elements {
        let mut runs: Vec<(DType, u32)> = Vec::new();
        for (dtype, rows) in a.runs(rows_a).into_iter().chain(b.runs(rows_b)) {
            match runs.last_mut() {
                Some((last, more)) if *last == dtype => *more += rows,
                _ => runs.push((dtype, rows)),
            }
        }
        match runs[..] {
            [(dtype, _)] => Elements::One(dtype),
            _ => Elements::Runs(runs),
        }
    }
}

impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elements::One(dtype) => dtype.fmt(f),
            Elements::Runs(runs) => {
                let runs: Vec<String> = runs.iter().map(|(dtype, rows)| format!("{dtype}:{rows}")).collect();
                f.write_str(&runs.join("+"))
            }
        }
    }
}

/// Element types and shape of a value. [`Op::Absent`] has no axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Elements; f32 for everything that depends on tokens.
    pub elements: Elements,
    /// Axes, slowest first.
    pub shape: Vec<Extent>,
    /// Whether the value is known when weights are packed (it depends on weights only).
    pub constant: bool,
}

impl Type {
    fn activation(shape: &[Extent]) -> Type {
        Type { elements: Elements::One(DType::F32), shape: shape.to_vec(), constant: false }
    }

    fn constant(dtype: DType, shape: &[u32]) -> Type {
        Type::of(Elements::One(dtype), shape)
    }

    fn of(elements: Elements, shape: &[u32]) -> Type {
        Type { elements, shape: shape.iter().map(|&n| Extent::Fixed(n)).collect(), constant: true }
    }

    /// Whether this is the type of [`Op::Absent`].
    pub fn is_absent(&self) -> bool {
        self.constant && self.shape.is_empty()
    }

    /// The columns of a `[T, n]` activation.
    pub fn token_width(&self) -> Option<u32> {
        match (self.constant, self.shape.as_slice()) {
            (false, [Extent::Tokens, Extent::Fixed(n)]) => Some(*n),
            _ => None,
        }
    }

    /// The columns of an `[S, n]` activation.
    pub fn cache_width(&self) -> Option<u32> {
        match (self.constant, self.shape.as_slice()) {
            (false, [Extent::Cache, Extent::Fixed(n)]) => Some(*n),
            _ => None,
        }
    }

    /// `[rows, cols]` of a constant matrix.
    pub fn matrix(&self) -> Option<(u32, u32)> {
        match (self.constant, self.shape.as_slice()) {
            (true, [Extent::Fixed(r), Extent::Fixed(c)]) => Some((*r, *c)),
            _ => None,
        }
    }

    /// Length of a constant vector.
    pub fn vector(&self) -> Option<u32> {
        match (self.constant, self.shape.as_slice()) {
            (true, [Extent::Fixed(n)]) => Some(*n),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.constant {
            write!(f, "{}", self.elements)?;
        }
        f.write_str("[")?;
        for (i, e) in self.shape.iter().enumerate() {
            write!(f, "{}{e}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// A broken shape law.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// Wrong number of operands.
    #[error("{op} takes {expected} operands, found {found}")]
    Arity {
        /// The op's name.
        op: &'static str,
        /// Operands it takes.
        expected: usize,
        /// Operands given.
        found: usize,
    },
    /// An operand that does not exist.
    #[error("operand {0} is not defined before its use")]
    UnknownOperand(NodeId),
    /// A weight that is not declared.
    #[error("weight {0} is not declared")]
    UnknownWeight(WeightId),
    /// Operands that do not obey the op's law.
    #[error("{op}: expected {expected}, found {found}")]
    Law {
        /// The op's name.
        op: &'static str,
        /// The law, as in the op's documentation.
        expected: &'static str,
        /// The operands' types.
        found: String,
    },
}

/// The type of `op` applied to operands of types `args`.
pub fn infer(op: Op, args: &[&Type], dims: &Dims, weights: &[WeightDecl]) -> Result<Type, ShapeError> {
    if args.len() != op.arity() {
        return Err(ShapeError::Arity { op: op.name(), expected: op.arity(), found: args.len() });
    }
    if let Op::Weight(id) = op {
        let decl = weights.get(id.0 as usize).ok_or(ShapeError::UnknownWeight(id))?;
        return Ok(Type::constant(decl.dtype, &decl.shape));
    }
    law(op, args, dims).map_err(|expected| ShapeError::Law {
        op: op.name(),
        expected,
        found: args.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "),
    })
}

type Law = Result<Type, &'static str>;

const T: Extent = Extent::Tokens;
const S: Extent = Extent::Cache;
const fn n(width: u32) -> Extent {
    Extent::Fixed(width)
}

fn law(op: Op, a: &[&Type], d: &Dims) -> Law {
    match op {
        Op::Input => Ok(Type::activation(&[T, n(d.hidden)])),
        Op::Absent => Ok(Type::constant(DType::F32, &[])),
        // `infer` answered for Op::Weight; an undeclared one never gets here.
        Op::Weight(_) => Err("a declared weight"),
        Op::Dequant => dequant(a[0]),
        Op::ConcatRows => concat_rows(a[0], a[1]),
        Op::ScaleCols => scale_cols(a[0], a[1]),
        Op::Diagonal => diagonal(a[0], a[1]),
        Op::Embed => match a[0].matrix() {
            Some((rows, cols)) if rows == d.vocab_rows && cols == d.hidden => {
                Ok(Type::activation(&[T, n(cols)]))
            }
            _ => Err("w[V, D]"),
        },
        Op::RmsNorm(_) => rms_norm(a[0], a[1]),
        Op::Normalize(_) => same_tokens(a[0], "x[T, D]"),
        Op::Linear => linear(a[0], a[1], a[2]),
        Op::NormLinear(_) => linear(a[0], a[1], a[2]),
        Op::LinearAdd => match linear(a[0], a[1], a[2])? {
            y if y == *a[3] => Ok(y),
            _ => Err("x[T, k], w[n, k], b?[n], r[T, n]"),
        },
        Op::NormSwiglu(_) => swiglu(&linear(a[0], a[1], a[2])?),
        Op::Swiglu => swiglu(a[0]),
        Op::LmHead | Op::NormLmHead(_) => lm_head(a[0], a[1], d),
        Op::SelectAdapter { rank, adapters } => select_adapter(a[0], rank, adapters),
        Op::HeadNorm(_) | Op::HeadNormRope(_) => match a[1].vector() {
            Some(h) if h == d.head_dim => heads(a[0], d, "x[T, n·h], g[h]"),
            _ => Err("x[T, n·h], g[h]"),
        },
        Op::Rope => heads(a[0], d, "x[T, n·h]"),
        Op::CacheAppend(_) => match a[0].token_width() {
            Some(w) if w == d.kv_width() => Ok(Type::activation(&[S, n(w)])),
            _ => Err("x[T, K·h]"),
        },
        Op::RepeatKv => match a[0].cache_width() {
            Some(w) if w == d.kv_width() => Ok(Type::activation(&[S, n(d.q_width())])),
            _ => Err("x[S, K·h]"),
        },
        Op::Scores => match (a[0].token_width(), a[1].cache_width()) {
            (Some(q), Some(k)) if q == d.q_width() && (k == d.q_width() || k == d.kv_width()) => {
                Ok(Type::activation(&[T, n(d.heads), S]))
            }
            _ => Err("q[T, H·h], k[S, n·h] with n = H or K"),
        },
        Op::CausalMask | Op::Softmax => match scores(a[0], d) {
            true => Ok(a[0].clone()),
            false => Err("s[T, H, S]"),
        },
        Op::WeightedSum => match a[1].cache_width() {
            Some(v) if scores(a[0], d) && (v == d.q_width() || v == d.kv_width()) => {
                Ok(Type::activation(&[T, n(d.q_width())]))
            }
            _ => Err("p[T, H, S], v[S, n·h] with n = H or K"),
        },
        Op::Silu => same_tokens(a[0], "x[T, n]"),
        Op::Mul | Op::Add => match a[0] == a[1] {
            true => same_tokens(a[0], "a[T, n], b[T, n]"),
            false => Err("a[T, n], b[T, n]"),
        },
        Op::Slice { start, len } => match a[0].token_width() {
            Some(w) if len > 0 && start.checked_add(len).is_some_and(|end| end <= w) => {
                Ok(Type::activation(&[T, n(len)]))
            }
            _ => Err("x[T, n] with start + len <= n"),
        },
        Op::Attention => match (a[0].token_width(), a[1].cache_width(), a[2].cache_width()) {
            (Some(q), Some(k), Some(v)) if q == d.q_width() && k == d.kv_width() && v == k => {
                Ok(Type::activation(&[T, n(q)]))
            }
            _ => Err("q[T, H·h], k[S, K·h], v[S, K·h]"),
        },
        Op::PrepareQkv(_) => prepare_qkv(a, d),
        Op::PreparedAttention => match a[0].token_width() {
            Some(w) if w == d.q_width() + 2 * d.kv_width() => Ok(Type::activation(&[T, n(d.q_width())])),
            _ => Err("p[T, (H+2K)·h]"),
        },
    }
}

fn dequant(w: &Type) -> Law {
    match w.matrix() {
        Some((r, c)) => Ok(Type::constant(DType::F32, &[r, c])),
        None => Err("w[n, k]"),
    }
}

fn concat_rows(a: &Type, b: &Type) -> Law {
    if a.is_absent() && b.is_absent() {
        return Ok(a.clone());
    }
    let joined = |m, n| Elements::joined((&a.elements, m), (&b.elements, n));
    if let (Some((m, k)), Some((n, l))) = (a.matrix(), b.matrix()) {
        if k == l {
            return Ok(Type::of(joined(m, n), &[m + n, k]));
        }
    }
    match (a.vector(), b.vector()) {
        (Some(m), Some(n)) => Ok(Type::of(joined(m, n), &[m + n])),
        _ => Err("a[m, k], b[n, k] (or two vectors, or two absent operands)"),
    }
}

fn scale_cols(w: &Type, g: &Type) -> Law {
    match (w.matrix(), g.vector()) {
        (Some((_, cols)), Some(k)) if cols == k => Ok(w.clone()),
        _ => Err("w[n, k], g[k]"),
    }
}

fn diagonal(a: &Type, b: &Type) -> Law {
    match (a.matrix(), b.matrix()) {
        (Some((m, k)), Some((n, l))) => {
            let elements = Elements::joined((&a.elements, m), (&b.elements, n));
            Ok(Type::of(elements, &[m + n, k + l]))
        }
        _ => Err("a[m, k], b[n, l]"),
    }
}

fn select_adapter(x: &Type, rank: u32, adapters: u32) -> Law {
    let turn = rank.checked_mul(adapters).filter(|&columns| columns > 0);
    match (x.token_width(), turn) {
        (Some(w), Some(columns)) if w % columns == 0 => Ok(x.clone()),
        _ => Err("x[T, m·adapters·rank] with rank and adapters of at least 1"),
    }
}

fn rms_norm(x: &Type, g: &Type) -> Law {
    match (x.token_width(), g.vector()) {
        (Some(w), Some(k)) if w == k => Ok(x.clone()),
        _ => Err("x[T, D], g[D]"),
    }
}

fn same_tokens(x: &Type, expected: &'static str) -> Law {
    match x.token_width() {
        Some(_) => Ok(x.clone()),
        None => Err(expected),
    }
}

fn linear(x: &Type, w: &Type, b: &Type) -> Law {
    match (x.token_width(), w.matrix()) {
        (Some(k), Some((rows, cols))) if k == cols && (b.is_absent() || b.vector() == Some(rows)) => {
            Ok(Type::activation(&[T, n(rows)]))
        }
        _ => Err("x[T, k], w[n, k], b?[n]"),
    }
}

fn swiglu(y: &Type) -> Law {
    match y.token_width() {
        Some(w) if w % 2 == 0 => Ok(Type::activation(&[T, n(w / 2)])),
        _ => Err("y[T, 2F]"),
    }
}

fn lm_head(x: &Type, w: &Type, d: &Dims) -> Law {
    match (x.token_width(), w.matrix()) {
        (Some(k), Some((rows, cols))) if k == cols && rows == d.vocab_rows => {
            Ok(Type::activation(&[T, n(rows)]))
        }
        _ => Err("x[T, D], w[V, D]"),
    }
}

fn heads(x: &Type, d: &Dims, expected: &'static str) -> Law {
    match x.token_width() {
        Some(w) if w % d.head_dim == 0 && w > 0 => Ok(x.clone()),
        _ => Err(expected),
    }
}

fn scores(s: &Type, d: &Dims) -> bool {
    !s.constant && s.shape == [T, n(d.heads), S]
}

fn prepare_qkv(a: &[&Type], d: &Dims) -> Law {
    let gain = |g: &Type| g.is_absent() || g.vector() == Some(d.head_dim);
    match a[0].token_width() {
        Some(w) if w == d.q_width() + 2 * d.kv_width() && gain(a[1]) && gain(a[2]) => Ok(a[0].clone()),
        _ => Err("y[T, (H+2K)·h], gq?[h], gk?[h]"),
    }
}
