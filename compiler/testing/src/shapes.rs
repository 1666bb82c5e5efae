//! Small models of odd shapes: the graph, and weights from a formula. In: a shape and a weight type. Out: what
//! the interpreter and a compiler need. Invariant: the same in every run.

use std::borrow::Cow;

use half::f16;
use qwenc_formats::{DType, ScaleType, Scales, Tensor, WeightError};
use qwenc_ir::{
    parse, verify, Checked, Eps, Graph, Layers, NodeId, Op, SectionKind, WeightDecl, WeightSource,
};

/// Sizes of a test model.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Width of the MLP.
    pub intermediate: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Rows of the embedding.
    pub vocab: u32,
    /// Whether the head reads the embedding.
    pub tied: bool,
    /// Whether layers from the second on see five positions, and are a layer group.
    pub windows: bool,
}

/// Widths of whole panels, an odd vocabulary, a tied head.
pub const ODD: Shape = Shape {
    layers: 2,
    hidden: 96,
    intermediate: 160,
    heads: 4,
    kv_heads: 2,
    head_dim: 48,
    vocab: 301,
    tied: true,
    windows: false,
};
/// Nothing is a multiple of anything.
pub const ODDER: Shape = Shape {
    layers: 3,
    hidden: 70,
    intermediate: 37,
    heads: 3,
    kv_heads: 1,
    head_dim: 22,
    vocab: 67,
    tied: false,
    windows: true,
};

/// The optimised form of a Qwen3 block, as text.
pub fn graph(s: Shape, dtype: DType) -> Checked<Graph> {
    verify(parsed(s, dtype)).unwrap()
}

/// The same with v, up and every second layer's down in another type: rows of two formats in a matrix, and layers of two
/// kinds.
pub fn mixed(s: Shape, dtype: DType, other: DType) -> Checked<Graph> {
    let groups = [0, 1].map(|odd| ((odd..s.layers).step_by(2).collect(), None));
    let graph = parsed(s, dtype).regrouped(groups);
    let mut mixed = Graph { weights: graph.weights.clone(), groups: Vec::new(), ..graph.clone() };
    for (number, group) in graph.groups.iter().enumerate() {
        let kind = mixed.add_group(group.layers.clone(), group.window);
        for node in &group.block.nodes {
            if let Op::Weight(id) = node.op {
                let decl = &mut mixed.weights[id.0 as usize];
                let changes =
                    ["*.v", "*.up"].contains(&decl.name.as_str()) || (decl.name == "*.down" && number == 1);
                decl.dtype = if changes { other } else { decl.dtype };
            }
            mixed.push(kind, node.op, &node.args).unwrap();
        }
        mixed.section_mut(kind).root = group.block.root;
    }
    verify(mixed).unwrap()
}

fn parsed(s: Shape, dtype: DType) -> Graph {
    let Shape { layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, tied, windows } = s;
    let (q, kv) = (heads * head_dim, kv_heads * head_dim);
    let (qkv, gate_up) = (q + 2 * kv, 2 * intermediate);
    let head = if tied { 0 } else { 13 };
    let untied = match tied {
        true => String::new(),
        false => format!("weight @13 \"lm_head\" {dtype}[{vocab}, {hidden}]\n"),
    };
    let text = format!(
        "graph \"test\"
dims layers={layers} hidden={hidden} intermediate={intermediate} heads={heads} kv_heads={kv_heads} head_dim={head_dim} vocab_rows={vocab} context=2048
rope theta=10000
weight @0 \"embed\" {dtype}[{vocab}, {hidden}]
weight @1 \"*.g1\" f32[{hidden}]
weight @2 \"*.q\" {dtype}[{q}, {hidden}]
weight @3 \"*.k\" {dtype}[{kv}, {hidden}]
weight @4 \"*.v\" {dtype}[{kv}, {hidden}]
weight @5 \"*.qn\" f32[{head_dim}]
weight @6 \"*.kn\" f32[{head_dim}]
weight @7 \"*.o\" {dtype}[{hidden}, {q}]
weight @8 \"*.g2\" f32[{hidden}]
weight @9 \"*.gate\" {dtype}[{intermediate}, {hidden}]
weight @10 \"*.up\" {dtype}[{intermediate}, {hidden}]
weight @11 \"*.down\" {dtype}[{hidden}, {intermediate}]
weight @12 \"gf\" f32[{hidden}]
{untied}prologue {{
  %0 = weight @0 : {dtype}[{vocab}, {hidden}]
  %1 = embed %0 : [T, {hidden}]
  return %1
}}
layers {} {{
  %0 = input : [T, {hidden}]
  %1 = weight @2 : {dtype}[{q}, {hidden}]
  %2 = weight @3 : {dtype}[{kv}, {hidden}]
  %3 = weight @4 : {dtype}[{kv}, {hidden}]
  %4 = concat_rows %2 %3 : {dtype}[{}, {hidden}]
  %5 = concat_rows %1 %4 : {dtype}[{qkv}, {hidden}]
  %6 = weight @1 : f32[{hidden}]
  %7 = scale_cols %5 %6 : {dtype}[{qkv}, {hidden}]
  %8 = absent : f32[]
  %9 = norm_linear eps=1e-6 %0 %7 %8 : [T, {qkv}]
  %10 = weight @5 : f32[{head_dim}]
  %11 = weight @6 : f32[{head_dim}]
  %12 = prepare_qkv eps=1e-6 %9 %10 %11 : [T, {qkv}]
  %13 = prepared_attention %12 : [T, {q}]
  %14 = weight @7 : {dtype}[{hidden}, {q}]
  %15 = linear_add %13 %14 %8 %0 : [T, {hidden}]
  %16 = weight @9 : {dtype}[{intermediate}, {hidden}]
  %17 = weight @10 : {dtype}[{intermediate}, {hidden}]
  %18 = concat_rows %16 %17 : {dtype}[{gate_up}, {hidden}]
  %19 = weight @8 : f32[{hidden}]
  %20 = scale_cols %18 %19 : {dtype}[{gate_up}, {hidden}]
  %21 = norm_swiglu eps=1e-6 %15 %20 %8 : [T, {intermediate}]
  %22 = weight @11 : {dtype}[{hidden}, {intermediate}]
  %23 = linear_add %21 %22 %8 %15 : [T, {hidden}]
  return %23
}}
head {{
  %0 = input : [T, {hidden}]
  %1 = weight @{head} : {dtype}[{vocab}, {hidden}]
  %2 = weight @12 : f32[{hidden}]
  %3 = scale_cols %1 %2 : {dtype}[{vocab}, {hidden}]
  %4 = norm_lm_head eps=1e-6 %0 %3 : [T, {vocab}]
  return %4
}}
",
        Layers::first(layers),
        2 * kv
    );
    let graph = parse(&text).unwrap();
    match windows {
        true => graph.regrouped([(Layers::first(1), None), ((1..layers).collect(), Some(5))]),
        false => graph,
    }
}

/// The same with `adapters` low-rank adapters of `rank` beside every linear of the block.
pub fn adapted(s: Shape, dtype: DType, (rank, adapters): (u32, u32)) -> Checked<Graph> {
    let mut graph = Graph::clone(&graph(s, dtype));
    for group in 0..graph.groups.len() as u32 {
        adapt_block(&mut graph, s, (rank, adapters), group);
    }
    verify(graph).unwrap()
}

fn adapt_block(graph: &mut Graph, s: Shape, (rank, adapters): (u32, u32), group: u32) {
    let kind = SectionKind::Block(group);
    let block = std::mem::take(graph.section_mut(kind));
    let mut a = Adapting { graph, kind, rank, adapters };
    let (q, kv, half) = (s.heads * s.head_dim, s.kv_heads * s.head_dim, s.intermediate);
    let mut at = Vec::new();
    for (i, node) in block.nodes.iter().enumerate() {
        let args: Vec<NodeId> = node.args.iter().map(|n| at[n.0 as usize]).collect();
        let name = format!("*.{i}");
        // Where a norm stands before, the second operand is the joined weight with its gain.
        let gain = |at: &[NodeId]| at[block.node(node.args[1]).args[1].0 as usize];
        at.push(match node.op {
            Op::NormLinear(eps) => {
                let y = a.push(node.op, &args);
                a.adapt(&name, y, args[0], Some((eps, gain(&at))), &[q, kv, kv])
            }
            Op::NormSwiglu(eps) => {
                let y = a.push(Op::NormLinear(eps), &args);
                let y = a.adapt(&name, y, args[0], Some((eps, gain(&at))), &[half, half]);
                a.push(Op::Swiglu, &[y])
            }
            Op::LinearAdd => {
                let y = a.push(node.op, &args);
                a.adapt(&name, y, args[0], None, &[s.hidden])
            }
            op => a.push(op, &args),
        });
    }
    graph.section_mut(kind).root = block.root.map(|root| at[root.0 as usize]);
}

struct Adapting<'a> {
    graph: &'a mut Graph,
    kind: SectionKind,
    rank: u32,
    adapters: u32,
}

impl Adapting<'_> {
    fn push(&mut self, op: Op, args: &[NodeId]) -> NodeId {
        self.graph.push(self.kind, op, args).unwrap()
    }

    fn weight(&mut self, name: &str, shape: [u32; 2]) -> NodeId {
        let id = self.graph.declare(name, DType::F32, &shape);
        self.push(Op::Weight(id), &[])
    }

    /// y, whose columns are of linears with so many rows, and what the adapters add of x.
    fn adapt(
        &mut self,
        name: &str,
        y: NodeId,
        x: NodeId,
        norm: Option<(Eps, NodeId)>,
        rows: &[u32],
    ) -> NodeId {
        let cols = self.graph.section(self.kind).node(x).ty.token_width().unwrap();
        let ranks = self.rank * self.adapters;
        let parts: Vec<[NodeId; 2]> = (0..)
            .zip(rows)
            .map(|(i, &rows): (u32, _)| {
                let down = self.weight(&format!("{name}.{i}.a"), [ranks, cols]);
                [down, self.weight(&format!("{name}.{i}.b"), [rows, ranks])]
            })
            .collect();
        let [mut down, mut up] = parts[parts.len() - 1];
        for [a, b] in parts.iter().rev().skip(1) {
            down = self.push(Op::ConcatRows, &[*a, down]);
            up = self.push(Op::Diagonal, &[*b, up]);
        }
        let none = self.push(Op::Absent, &[]);
        let u = match norm {
            Some((eps, gain)) => {
                let down = self.push(Op::ScaleCols, &[down, gain]);
                self.push(Op::NormLinear(eps), &[x, down, none])
            }
            None => self.push(Op::Linear, &[x, down, none]),
        };
        let u = self.push(Op::SelectAdapter { rank: self.rank, adapters: self.adapters }, &[u]);
        self.push(Op::LinearAdd, &[u, up, none, y])
    }
}

/// `n` scales, one of them zero, some negative.
fn random_scales(n: usize, ty: ScaleType, size: f32) -> Scales<'static> {
    let sign = |g: usize| if g.is_multiple_of(3) { -size } else { size };
    let scale = |g: usize| if g == 1 { 0.0 } else { sign(g) * (0.002 + 0.001 * g as f32 / n as f32) };
    match ty {
        ScaleType::F32 => Scales::F32(Cow::Owned((0..n).flat_map(|g| scale(g).to_le_bytes()).collect())),
        ScaleType::F16 => {
            let half = |g: usize| f16::from_f32(scale(g)).to_le_bytes();
            Scales::F16(Cow::Owned((0..n).flat_map(half).collect()))
        }
    }
}

/// Random weights from the tensor's name; one group of a quantised tensor is all zeros.
pub struct Random;

fn noise(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    ((*seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0
}

impl WeightSource for Random {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> Result<Tensor<'_>, WeightError> {
        let name = decl.tensor_name(layer);
        let mut seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let (rows, cols) = match decl.shape[..] {
            [n] => (1, n as usize),
            _ => (decl.shape[0] as usize, decl.shape[1] as usize),
        };
        let gain = if rows == 1 { 1.0 } else { 0.0 };
        let mut values: Vec<f32> = (0..rows * cols).map(|_| gain + 0.25 * noise(&mut seed)).collect();
        if [DType::F16, DType::Bf16].contains(&decl.dtype) {
            // Some of other sizes, and zeros.
            let odd = [8.0, 2f32.powi(-22), 0.0, 2f32.powi(-31)];
            values.iter_mut().skip(7).step_by(709).zip(odd.iter().cycle()).for_each(|(v, f)| *v *= f);
            // In the last column too.
            values.chunks_mut(cols).step_by(11).for_each(|row| row[cols - 1] *= odd[1]);
        }
        let (data, scales) = match decl.dtype {
            DType::F32 => (values.iter().flat_map(|v| v.to_le_bytes()).collect(), None),
            DType::Bf16 => {
                (values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(), None)
            }
            DType::I8 { group, scales } => {
                let q = values.iter().map(|v| (v * 4.0 * 127.0).round() as i8 as u8).collect();
                (q, Some(random_scales(rows * cols.div_ceil(group as usize), scales, 1.0)))
            }
            DType::I4 { group, scales } => {
                let nibble = |v: &f32| (v * 4.0 * 7.9 + 8.0) as u8;
                let pack = |row: &[f32]| -> Vec<u8> {
                    let byte = |two: &[f32]| nibble(&two[0]) | two.get(1).map_or(0, nibble) << 4;
                    row.chunks(2).map(byte).collect()
                };
                let bytes = values.chunks(cols).flat_map(pack).collect();
                (bytes, Some(random_scales(rows * cols.div_ceil(group as usize), scales, 16.0)))
            }
            other => {
                let mut blocks = Vec::new();
                other.round(&values, cols, &mut blocks, &mut Vec::new());
                (blocks, None)
            }
        };
        Tensor::new(&name, decl.dtype, (rows, cols), Cow::Owned(data), scales)
    }
}
