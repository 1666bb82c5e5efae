//! The graph: three sections of nodes and a table of weights.
//!
//! In: ops in dependency order. Out: an arena whose order is a topological order. Invariant: a
//! node's operands stand earlier in the same section; values cross sections only as a section's
//! root becoming the next one's [`Op::Input`]. Data and its building only: laws are in `shape.rs` and
//! `verify.rs`, meaning in `interp/`, spelling in `text/`.

use crate::dims::Dims;
use crate::ids::{NodeId, WeightId};
use crate::op::Op;
use crate::rope::Rope;
use crate::shape::{infer, ShapeError, Type};
use crate::weights::WeightDecl;
use qwenc_formats::DType;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What computes it.
    pub op: Op,
    /// Operands, earlier in the section.
    pub args: Vec<NodeId>,
    /// Its type, inferred from op and operands.
    pub ty: Type,
    /// The activation's name for comparisons (`attn_norm`, `q_proj`, ...), where it has one.
    pub label: Option<String>,
}

/// Which part of the model a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SectionKind {
    /// Tokens to the residual stream; has no input.
    Prologue,
    /// One transformer block, run once per layer.
    Block,
    /// The residual stream to logits.
    Head,
}

/// A list of nodes in dependency order, and the one that is its result.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Section {
    /// The arena.
    pub nodes: Vec<Node>,
    /// The result.
    pub root: Option<NodeId>,
}

impl Section {
    /// The node; the id must be of this section.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Ids in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator {
        (0..self.nodes.len() as u32).map(NodeId)
    }
}

/// A model as a graph: `prologue`, then `block` once per layer, then `head`.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The model's name, for people.
    pub name: String,
    /// Sizes.
    pub dims: Dims,
    /// Rotary embedding, the same in all layers.
    pub rope: Rope,
    /// Sliding window of each layer in tokens, or none; `[layers]`.
    pub windows: Vec<Option<u32>>,
    /// Stored tensors.
    pub weights: Vec<WeightDecl>,
    /// Tokens to `[T, D]`.
    pub prologue: Section,
    /// `[T, D] -> [T, D]`.
    pub block: Section,
    /// `[T, D] -> [T, V]`.
    pub head: Section,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str, dims: Dims, rope: Rope) -> Graph {
        Graph {
            name: name.to_string(),
            dims,
            rope,
            windows: vec![None; dims.layers as usize],
            weights: Vec::new(),
            prologue: Section::default(),
            block: Section::default(),
            head: Section::default(),
        }
    }

    /// Declares a weight.
    pub fn declare(&mut self, name: &str, dtype: DType, shape: &[u32]) -> WeightId {
        self.weights.push(WeightDecl { name: name.to_string(), dtype, shape: shape.to_vec() });
        WeightId(self.weights.len() as u32 - 1)
    }

    /// The declaration; the id must be of this graph.
    pub fn weight(&self, id: WeightId) -> &WeightDecl {
        &self.weights[id.0 as usize]
    }

    /// The section.
    pub fn section(&self, kind: SectionKind) -> &Section {
        match kind {
            SectionKind::Prologue => &self.prologue,
            SectionKind::Block => &self.block,
            SectionKind::Head => &self.head,
        }
    }

    /// The section, to be changed.
    pub fn section_mut(&mut self, kind: SectionKind) -> &mut Section {
        match kind {
            SectionKind::Prologue => &mut self.prologue,
            SectionKind::Block => &mut self.block,
            SectionKind::Head => &mut self.head,
        }
    }

    /// Appends a node, with its type inferred.
    pub fn push(&mut self, kind: SectionKind, op: Op, args: &[NodeId]) -> Result<NodeId, ShapeError> {
        let section = self.section(kind);
        let mut types = Vec::with_capacity(args.len());
        for &a in args {
            let node = section.nodes.get(a.0 as usize).ok_or(ShapeError::UnknownOperand(a))?;
            types.push(&node.ty);
        }
        let ty = infer(op, &types, &self.dims, &self.weights)?;
        let section = self.section_mut(kind);
        section.nodes.push(Node { op, args: args.to_vec(), ty, label: None });
        Ok(NodeId(section.nodes.len() as u32 - 1))
    }

    /// Names a node's value for comparisons.
    pub fn label(&mut self, kind: SectionKind, id: NodeId, label: &str) {
        self.section_mut(kind).nodes[id.0 as usize].label = Some(label.to_string());
    }
}
