//! The closed set of operations. In: operands. Out: one value per op.
//!
//! Each variant states its operands, its shape law and its formula. `T` is the number of tokens in
//! the step, `S` the number of cached positions including the step's own. `D` hidden, `H` heads, `K`
//! kv heads, `h` head_dim come from [`Dims`](crate::Dims). The law itself is code in `shape.rs`, the
//! formula in `interp`; an operand written `b?` may be [`Op::Absent`]. docs/add-an-op.md is the way to a
//! new one.

use std::fmt;

use strum::EnumCount;

use crate::ids::WeightId;

/// The epsilon of an RMSNorm, compared and hashed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Eps(u32);

impl Eps {
    /// From the value in config.json.
    pub const fn new(value: f32) -> Eps {
        Eps(value.to_bits())
    }

    /// The value.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl fmt::Debug for Eps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Eps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:e}", self.get())
    }
}

/// Which half of a layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Keys.
    K,
    /// Values.
    V,
}

/// One operation. Plain data: operands stand in the [`Node`](crate::Node).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumCount)]
pub enum Op {
    // Leaves.
    /// `-> [T, D]`: what the section receives: the residual stream (block, head).
    Input,
    /// `-> dtype[..]`: a stored tensor; in the block, this layer's.
    Weight(WeightId),
    /// An operand that is not there: no bias, no gain.
    Absent,

    // Weights from weights: evaluated when weights are packed, never per token.
    /// `w[n, k] -> f32[n, k]`: the stored numbers as f32.
    Dequant,
    /// `a[m, k], b[n, k] -> [m+n, k]` (or vectors, or two absent ones): rows of a, then rows of b.
    ConcatRows,
    /// `w[n, k], g[k] -> [n, k]`: `w[i, j] · g[j]`.
    ScaleCols,
    /// `a[m, k], b[n, l] -> [m+n, k+l]`: a and b on the diagonal, zeros beside them.
    Diagonal,

    // The model as it is written down.
    /// `w[V, D] -> [T, D]`: row `token[t]` of w.
    Embed,
    /// `x[T, D], g[D] -> [T, D]`: `x / sqrt(mean(x²) + eps) · g` (Zhang & Sennrich 2019).
    RmsNorm(Eps),
    /// `x[T, k], w[n, k], b?[n] -> [T, n]`: `x · wᵀ + b`.
    Linear,
    /// `x[T, n·h], g[h] -> [T, n·h]`: RMSNorm of each head by itself (Qwen3's q_norm and k_norm).
    HeadNorm(Eps),
    /// `x[T, n·h] -> [T, n·h]`: rotary embedding, halves of a head as real and imaginary part, angle
    /// `f32(position) · inv_freq[i]` (Su et al. 2021, in the half-split order of transformers).
    Rope,
    /// `x[T, K·h] -> [S, K·h]`: the cached rows, then x; x stays in the cache.
    CacheAppend(Slot),
    /// `x[S, K·h] -> [S, H·h]`: each kv head repeated H/K times.
    RepeatKv,
    /// `q[T, H·h], k[S, n·h] -> [T, H, S]`, n = H or K: `q · k / sqrt(h)`, head j with kv head `j·n/H`.
    Scores,
    /// `s[T, H, S] -> [T, H, S]`: -inf where the key is later than the query, or outside the layer's
    /// sliding window (the window counts the token itself).
    CausalMask,
    /// `s[T, H, S] -> [T, H, S]`: over the last axis.
    Softmax,
    /// `p[T, H, S], v[S, n·h] -> [T, H·h]`, n = H or K: `Σ_s p · v`.
    WeightedSum,
    /// `x -> x`: `x / (1 + exp(-x))`.
    Silu,
    /// `a, b -> a`: product, element by element.
    Mul,
    /// `a, b -> a`: sum, element by element.
    Add,
    /// `x[T, D], w[V, D] -> [T, V]`: logits `x · wᵀ`.
    LmHead,
    /// `x[T, m·adapters·rank] -> x`: columns in blocks of `rank`, of which block b belongs to adapter `b mod adapters`;
    /// those that are not of the token's adapter become 0. Between the two matrices of a low-rank adapter (Hu et al.
    /// 2021) it makes a difference of one adapter of several, or none.
    SelectAdapter {
        /// Columns of a block.
        rank: u32,
        /// Adapters that take turns.
        adapters: u32,
    },

    // What rewriting makes of it.
    /// `x[T, D] -> [T, D]`: `x / sqrt(mean(x²) + eps)`, RMSNorm without gain.
    Normalize(Eps),
    /// `x[T, n] -> [T, len]`: columns `start .. start+len`.
    Slice {
        /// First column.
        start: u32,
        /// Number of columns.
        len: u32,
    },
    /// `y[T, 2F] -> [T, F]`: `silu(y[:, :F]) · y[:, F:]` (Shazeer 2020).
    Swiglu,
    /// `x[T, k], w[n, k], b?[n], r[T, n] -> [T, n]`: `r + linear(x, w, b)`.
    LinearAdd,
    /// `x[T, k], w[n, k], b?[n] -> [T, n]`: `linear(normalize(x), w, b)`.
    NormLinear(Eps),
    /// `x[T, k], w[2F, k], b?[2F] -> [T, F]`: `swiglu(linear(normalize(x), w, b))`.
    NormSwiglu(Eps),
    /// `x[T, D], w[V, D] -> [T, V]`: `lm_head(normalize(x), w)`.
    NormLmHead(Eps),
    /// `x[T, n·h], g[h] -> [T, n·h]`: `rope(head_norm(x, g))`.
    HeadNormRope(Eps),
    /// `q[T, H·h], k[S, K·h], v[S, K·h] -> [T, H·h]`: masked softmax attention, one pass over S with a
    /// running maximum and sum (Milakov & Gimelshein 2018; Dao et al. 2022).
    Attention,
    /// `y[T, (H+2K)·h], gq?[h], gk?[h] -> [T, (H+2K)·h]`: q | k | v with norm and RoPE applied to q and
    /// k; k and v stay in the cache.
    PrepareQkv(Eps),
    /// `p[T, (H+2K)·h] -> [T, H·h]`: [`Op::Attention`] of a [`Op::PrepareQkv`] with its cache.
    PreparedAttention,
}

/// Attribute of the norms in [`Op::ALL`].
const EPS: Eps = Eps::new(1e-6);

impl Op {
    /// Every op once, a cache op once for each slot, with attributes that fit small shapes. An op that is missing here does not
    /// compile.
    pub const ALL: [Op; Op::COUNT + 1] = [
        Op::Input,
        Op::Weight(WeightId(0)),
        Op::Absent,
        Op::Dequant,
        Op::ConcatRows,
        Op::ScaleCols,
        Op::Diagonal,
        Op::Embed,
        Op::RmsNorm(EPS),
        Op::Linear,
        Op::HeadNorm(EPS),
        Op::Rope,
        Op::CacheAppend(Slot::K),
        Op::CacheAppend(Slot::V),
        Op::RepeatKv,
        Op::Scores,
        Op::CausalMask,
        Op::Softmax,
        Op::WeightedSum,
        Op::Silu,
        Op::Mul,
        Op::Add,
        Op::LmHead,
        Op::SelectAdapter { rank: 3, adapters: 2 },
        Op::Normalize(EPS),
        Op::Slice { start: 4, len: 8 },
        Op::Swiglu,
        Op::LinearAdd,
        Op::NormLinear(EPS),
        Op::NormSwiglu(EPS),
        Op::NormLmHead(EPS),
        Op::HeadNormRope(EPS),
        Op::Attention,
        Op::PrepareQkv(EPS),
        Op::PreparedAttention,
    ];

    /// The op's name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Weight(_) => "weight",
            Op::Absent => "absent",
            Op::Dequant => "dequant",
            Op::ConcatRows => "concat_rows",
            Op::ScaleCols => "scale_cols",
            Op::Diagonal => "diagonal",
            Op::Embed => "embed",
            Op::RmsNorm(_) => "rms_norm",
            Op::Linear => "linear",
            Op::HeadNorm(_) => "head_norm",
            Op::Rope => "rope",
            Op::CacheAppend(Slot::K) => "cache_append_k",
            Op::CacheAppend(Slot::V) => "cache_append_v",
            Op::RepeatKv => "repeat_kv",
            Op::Scores => "scores",
            Op::CausalMask => "causal_mask",
            Op::Softmax => "softmax",
            Op::WeightedSum => "weighted_sum",
            Op::Silu => "silu",
            Op::Mul => "mul",
            Op::Add => "add",
            Op::LmHead => "lm_head",
            Op::SelectAdapter { .. } => "select_adapter",
            Op::Normalize(_) => "normalize",
            Op::Slice { .. } => "slice",
            Op::Swiglu => "swiglu",
            Op::LinearAdd => "linear_add",
            Op::NormLinear(_) => "norm_linear",
            Op::NormSwiglu(_) => "norm_swiglu",
            Op::NormLmHead(_) => "norm_lm_head",
            Op::HeadNormRope(_) => "head_norm_rope",
            Op::Attention => "attention",
            Op::PrepareQkv(_) => "prepare_qkv",
            Op::PreparedAttention => "prepared_attention",
        }
    }

    /// Number of operands.
    pub fn arity(self) -> usize {
        match self {
            Op::Input | Op::Weight(_) | Op::Absent => 0,
            Op::Dequant
            | Op::Embed
            | Op::Rope
            | Op::CacheAppend(_)
            | Op::RepeatKv
            | Op::CausalMask
            | Op::Softmax
            | Op::Silu
            | Op::Normalize(_)
            | Op::Slice { .. }
            | Op::SelectAdapter { .. }
            | Op::Swiglu
            | Op::PreparedAttention => 1,
            Op::ConcatRows
            | Op::ScaleCols
            | Op::Diagonal
            | Op::RmsNorm(_)
            | Op::HeadNorm(_)
            | Op::HeadNormRope(_)
            | Op::Scores
            | Op::WeightedSum
            | Op::Mul
            | Op::Add
            | Op::LmHead
            | Op::NormLmHead(_) => 2,
            Op::Linear | Op::NormLinear(_) | Op::NormSwiglu(_) | Op::Attention | Op::PrepareQkv(_) => 3,
            Op::LinearAdd => 4,
        }
    }
}
