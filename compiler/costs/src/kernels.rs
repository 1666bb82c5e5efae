//! The work of each kernel.
//!
//! In: rows, columns, operand format and input form of a matrix; heads; a load. Out: [`Work`]. Invariant: matrices,
//! cached keys and cached values are bytes of memory; vectors, inputs and results are bytes of activations, which caches
//! hold.

use qwenc_formats::{Inputs, Operand, PANEL_ROWS};

use crate::load::Load;
use crate::machine::Processor;
use crate::work::Work;

/// Bytes of an activation, and of an element of the KV cache, whose type is not known when a graph is chosen.
const F32_BYTES: u64 = 4;

/// Operations on each element of what is no dot product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elementwise {
    /// RMSNorm.
    Norm,
    /// Rotary embedding.
    Rope,
    /// Softmax.
    Softmax,
    /// SiLU.
    Silu,
    /// SiLU of the gate, times up.
    Swiglu,
    /// A sum, a product, a mask, or an integer times its scale.
    Single,
}

impl Elementwise {
    /// f32 operations on this many elements; only their order of magnitude matters.
    pub fn ops(self, elements: u64) -> u64 {
        let each = match self {
            Elementwise::Norm => 4,
            Elementwise::Rope => 6,
            Elementwise::Softmax | Elementwise::Silu => 8,
            Elementwise::Swiglu => 9,
            Elementwise::Single => 1,
        };
        each * elements
    }
}

/// A kernel that reads and writes this many values and has no matrix.
pub fn elementwise(values: u64, ops: u64) -> Work {
    Work { activation_bytes: F32_BYTES * values, f32_ops: ops, launches: 1, ..Work::default() }
}

/// Matrix product of a packed matrix with the step's inputs, and what its kernel does before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Rows of the matrix.
    pub rows: u32,
    /// Columns of the matrix.
    pub cols: u32,
    /// Operand format of the matrix.
    pub operand: Operand,
    /// Form in which inputs meet it.
    pub inputs: Inputs,
    /// Whether inputs are normalised first.
    pub norm: bool,
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether a residual is added.
    pub residual: bool,
    /// Whether rows are gate and up, to be joined.
    pub swiglu: bool,
}

impl Linear {
    /// A plain product in the most exact form of inputs that kernels multiply the matrix with.
    pub fn exact(rows: u32, cols: u32, operand: Operand) -> Linear {
        let inputs = operand.exact_inputs();
        Linear { rows, cols, operand, inputs, norm: false, bias: false, residual: false, swiglu: false }
    }

    /// Work of one launch.
    pub fn work(&self, load: &Load) -> Work {
        let (rows, cols, tokens) = (u64::from(self.rows), u64::from(self.cols), load.tokens);
        let results = if self.swiglu { rows / 2 } else { rows };
        let counted = |is_there: bool, n: u64| if is_there { n } else { 0 };
        let values = tokens * (cols + results + counted(self.residual, results)) + counted(self.bias, rows);
        let beside = [
            (self.norm, Elementwise::Norm, cols),
            (self.residual, Elementwise::Single, results),
            (self.swiglu, Elementwise::Swiglu, results),
        ];
        let ops = beside.into_iter().map(|(is_there, kind, n)| counted(is_there, kind.ops(tokens * n))).sum();
        let matrix_bytes = self.operand.panel_bytes(self.cols) * u64::from(self.rows.div_ceil(PANEL_ROWS));
        Work { bytes: matrix_bytes, ..elementwise(values, ops) } + self.products(2 * rows * cols * tokens)
    }

    /// These multiplications and additions, by what multiplies them.
    fn products(&self, ops: u64) -> Work {
        match self.inputs {
            Inputs::F32 => Work { f32_ops: ops, ..Work::default() },
            Inputs::Bf16 => Work { bf16_ops: ops, ..Work::default() },
            Inputs::Int8 | Inputs::Int16 => {
                Work { int8_ops: ops * u64::from(self.inputs.planes()), ..Work::default() }
            }
        }
    }
}

/// Attention of a layer: its heads and its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Sliding window in tokens; none: a token attends to all before it.
    pub window: Option<u32>,
}

impl Heads {
    fn q_width(&self) -> u64 {
        u64::from(self.heads) * u64::from(self.head_dim)
    }

    /// Width of keys and values together.
    fn kv_width(&self) -> u64 {
        2 * u64::from(self.kv_heads) * u64::from(self.head_dim)
    }

    /// Norms and rotation of queries and keys, and the copy to the cache. On GPUs attention's launch does it.
    pub fn prepare(&self, load: &Load, processor: Processor) -> Work {
        let width = load.tokens * (self.q_width() + self.kv_width());
        let ops = Elementwise::Norm.ops(width) + Elementwise::Rope.ops(width);
        Work { launches: u64::from(processor == Processor::Cpu), ..elementwise(2 * width, ops) }
    }

    /// Attention over the cache: two dot products and a softmax for each query head and position.
    pub fn attend(&self, load: &Load) -> Work {
        let window = self.window.map(u64::from);
        let scores = u64::from(self.heads) * load.attended(window);
        let ops = 4 * u64::from(self.head_dim) * scores + Elementwise::Softmax.ops(scores);
        let bytes = F32_BYTES * self.kv_width() * load.read(window);
        Work { bytes, ..elementwise(load.tokens * (2 * self.q_width() + self.kv_width()), ops) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [38, 7] in bf16: two panels of 32 rows, inputs in pairs.
    #[test]
    fn a_linear_by_hand() {
        let load = Load { tokens: 3, cached: 5 };
        let plain = Linear::exact(38, 7, Operand::Bf16);
        let products = 2 * 38 * 7 * 3;
        let expected = Work {
            bytes: 2 * 32 * 8 * 2,
            activation_bytes: 4 * 3 * (7 + 38),
            f32_ops: products,
            launches: 1,
            ..Work::default()
        };
        assert_eq!(plain.work(&load), expected);
        let rounded = Linear { inputs: Inputs::Bf16, ..plain };
        assert_eq!(rounded.work(&load), Work { f32_ops: 0, bf16_ops: products, ..expected });
        let joined = Linear { norm: true, bias: true, swiglu: true, ..plain };
        let more = Work {
            activation_bytes: 4 * (3 * (7 + 19) + 38),
            f32_ops: products + 3 * (4 * 7 + 9 * 19),
            ..expected
        };
        assert_eq!(joined.work(&load), more);
        let added = Linear { residual: true, ..plain }.work(&load);
        assert_eq!((added.f32_ops, added.activation_bytes), (products + 3 * 38, 4 * 3 * (7 + 2 * 38)));
    }

    #[test]
    fn integers_count_every_plane() {
        let operand = Operand::I8 { group: 32, scales: qwenc_formats::ScaleType::F32 };
        let exact = Linear::exact(64, 32, operand);
        assert_eq!(exact.inputs, Inputs::Int16);
        let ops = |linear: Linear| linear.work(&Load::EMPTY_CACHE).int8_ops;
        assert_eq!((ops(exact), ops(Linear { inputs: Inputs::Int8, ..exact })), (4 * 64 * 32, 2 * 64 * 32));
    }

    #[test]
    fn attention_by_hand() {
        let heads = Heads { heads: 4, kv_heads: 2, head_dim: 8, window: None };
        let work = heads.attend(&Load::CONVERSATION);
        assert_eq!((work.f32_ops, work.bytes), (4 * 512 * (4 * 8 + 8), 4 * 2 * 2 * 8 * 511));
        assert_eq!(heads.attend(&Load::EMPTY_CACHE).bytes, 0);
        let near = Heads { window: Some(100), ..heads }.attend(&Load::CONVERSATION);
        assert_eq!((near.f32_ops, near.bytes), (4 * 100 * (4 * 8 + 8), 4 * 2 * 2 * 8 * 99));
        let launches = |processor| heads.prepare(&Load::CONVERSATION, processor).launches;
        assert_eq!([launches(Processor::Cpu), launches(Processor::Gpu)], [1, 0]);
    }
}
