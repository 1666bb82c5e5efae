//! Cost of each op per token in decode.
//!
//! In: an op and the types of operands and result. Out: its [`Work`]. Invariant: what is evaluated
//! when weights are packed costs nothing; an op that is a kernel costs what `qwenc-costs` says of that kernel; any other
//! reads its operands and writes its result once.

use qwenc_costs::{elementwise, Elementwise, Heads, Linear, Load, Processor, Work};
use qwenc_formats::Operand;
use qwenc_ir::{Dims, Elements, Extent, Graph, Op, Section, SectionKind, Type};

/// Load that alternatives are compared for.
const LOAD: Load = Load::CONVERSATION;

/// Whether the op is gone once weights are packed, so that it needs no kernel.
pub(crate) fn is_of_weights(op: Op) -> bool {
    matches!(op, Op::Input | Op::Weight(_) | Op::Absent | Op::ConcatRows | Op::ScaleCols | Op::Diagonal)
}

/// Prices of the ops of a section.
#[derive(Clone, Copy)]
pub(crate) struct Prices {
    dims: Dims,
    /// Sliding window of the section's layers.
    window: Option<u32>,
    processor: Processor,
}

impl Prices {
    /// Prices in this section of the graph.
    pub fn new(graph: &Graph, kind: SectionKind, processor: Processor) -> Prices {
        let window = match kind {
            SectionKind::Prologue | SectionKind::Head => None,
            SectionKind::Block(group) => graph.groups[group as usize].window,
        };
        Prices { dims: graph.dims, window, processor }
    }

    /// Work of a section, each node once.
    pub fn section(&self, section: &Section) -> Work {
        let mut sum = Work::default();
        for node in &section.nodes {
            let operands: Vec<&Type> = node.args.iter().map(|&a| &section.node(a).ty).collect();
            sum += self.op(node.op, &operands, &node.ty);
        }
        sum
    }

    /// Work of one op.
    pub fn op(&self, op: Op, operands: &[&Type], result: &Type) -> Work {
        let (out, head_dim) = (elements(result), u64::from(self.dims.head_dim));
        let first = operands.first().map_or(0, |ty| elements(ty));
        // Ops without a matrix, and ops without a kernel of their own.
        let alone = |ops: u64| Work { f32_ops: ops, ..traffic(operands, result) };
        match op {
            Op::Input | Op::Weight(_) | Op::Absent | Op::ConcatRows | Op::ScaleCols | Op::Diagonal => {
                Work::default()
            }
            Op::Linear | Op::LmHead => linear(operands, |plain| plain),
            Op::LinearAdd => linear(operands, |plain| Linear { residual: true, ..plain }),
            Op::NormLinear(_) | Op::NormLmHead(_) => linear(operands, |plain| Linear { norm: true, ..plain }),
            Op::NormSwiglu(_) => linear(operands, |plain| Linear { norm: true, swiglu: true, ..plain }),
            Op::PrepareQkv(_) => self.heads().prepare(&LOAD, self.processor),
            Op::PreparedAttention => self.heads().attend(&LOAD),
            Op::Attention => alone(self.heads().attend(&LOAD).f32_ops),
            // A row of the table, and some columns: as much is read as written.
            Op::Embed | Op::Slice { .. } => elementwise(2 * out, 0),
            // The new rows are copied; those that are cached stay where they are.
            Op::CacheAppend(_) => elementwise(2 * first, 0),
            Op::RmsNorm(_) | Op::Normalize(_) | Op::HeadNorm(_) => alone(Elementwise::Norm.ops(out)),
            Op::Rope => alone(Elementwise::Rope.ops(out)),
            Op::HeadNormRope(_) => alone(Elementwise::Norm.ops(out) + Elementwise::Rope.ops(out)),
            Op::Scores => alone(2 * out * head_dim),
            Op::Softmax => alone(Elementwise::Softmax.ops(out)),
            Op::WeightedSum => alone(2 * first * head_dim),
            Op::Silu => alone(Elementwise::Silu.ops(out)),
            Op::Swiglu => alone(Elementwise::Swiglu.ops(out)),
            Op::Mul | Op::Add | Op::CausalMask | Op::Dequant => alone(Elementwise::Single.ops(out)),
            Op::SelectAdapter { .. } | Op::RepeatKv => alone(0),
        }
    }

    fn heads(&self) -> Heads {
        let Dims { heads, kv_heads, head_dim, .. } = self.dims;
        Heads { heads, kv_heads, head_dim, window: self.window }
    }
}

/// A launch for each operand format among the rows of the matrix, which is the second operand; the bias is the third.
fn linear(operands: &[&Type], of: impl Fn(Linear) -> Linear) -> Work {
    let matrix = operands[1];
    let (rows, cols) = matrix.matrix().unwrap_or_default();
    let bias = operands.get(2).is_some_and(|ty| !ty.is_absent());
    let mut sum = Work::default();
    for (dtype, rows) in matrix.elements.runs(rows) {
        // Storage formats without an operand format are converted to f32.
        let plain = Linear::exact(rows, cols, dtype.operand().unwrap_or(Operand::F32));
        sum += of(Linear { bias, ..plain }).work(&LOAD);
    }
    sum
}

fn elements(ty: &Type) -> u64 {
    let length = |e: &Extent| match e {
        Extent::Fixed(n) => u64::from(*n),
        Extent::Tokens => LOAD.tokens,
        Extent::Cache => LOAD.cached + LOAD.tokens,
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

/// A launch that reads every operand and writes the result.
fn traffic(operands: &[&Type], result: &Type) -> Work {
    let mut sum = Work { launches: 1, ..Work::default() };
    for ty in operands.iter().copied().chain([result]) {
        match ty.shape.contains(&Extent::Tokens) {
            true => sum.activation_bytes += bytes(ty),
            false => sum.bytes += bytes(ty),
        }
    }
    sum
}
