//! The graph: three sections of nodes and a table of weights.
//!
//! In: ops in dependency order. Out: an arena whose order is a topological order. Invariant: a
//! node's operands stand earlier in the same section; values cross sections only as a section's
//! root becoming the next one's [`Op::Input`]. Data and its building only: laws are in `shape.rs` and
//! `verify.rs`, meaning in `interp/`, spelling in `text/`.

use crate::dims::Dims;
use crate::ids::{NodeId, WeightId};
use crate::layers::Layers;
use crate::op::Op;
use crate::rope::Rope;
use crate::shape::{infer, ShapeError, Type};
use crate::weights::WeightDecl;
use qwenc_formats::DType;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Op that computes it.
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
    /// The transformer block of the layer group of this number, run once for each of its layers.
    Block(u32),
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

/// Layer group: layers that run the same block, each with weights of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGroup {
    /// The layers; groups are no ranges where kinds of layers take turns.
    pub layers: Layers,
    /// Sliding window in tokens; none: a token attends to all before it.
    pub window: Option<u32>,
    /// `[T, D] -> [T, D]`.
    pub block: Section,
}

/// A model as a graph: `prologue`, then for each layer the block of its group, then `head`.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The model's name, for people.
    pub name: String,
    /// Sizes.
    pub dims: Dims,
    /// Rotary embedding, the same in all layers.
    pub rope: Rope,
    /// Stored tensors.
    pub weights: Vec<WeightDecl>,
    /// Tokens to `[T, D]`.
    pub prologue: Section,
    /// Every layer is in one group; in the order of their first layers.
    pub groups: Vec<LayerGroup>,
    /// `[T, D] -> [T, V]`.
    pub head: Section,
}

impl Graph {
    /// An empty graph, without layer groups.
    pub fn new(name: &str, dims: Dims, rope: Rope) -> Graph {
        Graph {
            name: name.to_string(),
            dims,
            rope,
            weights: Vec::new(),
            prologue: Section::default(),
            groups: Vec::new(),
            head: Section::default(),
        }
    }

    /// Adds a layer group with an empty block; returns the block's section.
    pub fn add_group(&mut self, layers: Layers, window: Option<u32>) -> SectionKind {
        self.groups.push(LayerGroup { layers, window, block: Section::default() });
        SectionKind::Block(self.groups.len() as u32 - 1)
    }

    /// All sections in order.
    pub fn sections(&self) -> Vec<SectionKind> {
        let blocks = (0..self.groups.len() as u32).map(SectionKind::Block);
        [SectionKind::Prologue].into_iter().chain(blocks).chain([SectionKind::Head]).collect()
    }

    /// Number of the group that a layer is in; none in a graph that was not checked.
    pub fn group_of(&self, layer: u32) -> Option<u32> {
        self.groups.iter().position(|group| group.layers.has(layer)).map(|i| i as u32)
    }

    /// Number of times that a section is run in a step: once, or for each of its layers.
    pub fn runs(&self, kind: SectionKind) -> u32 {
        match kind {
            SectionKind::Prologue | SectionKind::Head => 1,
            SectionKind::Block(group) => self.groups[group as usize].layers.count(),
        }
    }

    /// The same model with a copy of its first block for each of these groups, which declare their weights anew.
    pub fn regrouped(mut self, groups: impl IntoIterator<Item = (Layers, Option<u32>)>) -> Graph {
        let Some(first) = self.groups.first().cloned() else { return self };
        self.groups.clear();
        for (layers, window) in groups {
            let mut block = first.block.clone();
            if !self.groups.is_empty() {
                for node in &mut block.nodes {
                    let Op::Weight(id) = node.op else { continue };
                    if self.weight(id).per_layer() {
                        self.weights.push(self.weight(id).clone());
                        node.op = Op::Weight(WeightId(self.weights.len() as u32 - 1));
                    }
                }
            }
            self.groups.push(LayerGroup { layers, window, block });
        }
        self
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

    /// The section; its group must be of this graph.
    pub fn section(&self, kind: SectionKind) -> &Section {
        match kind {
            SectionKind::Prologue => &self.prologue,
            SectionKind::Block(group) => &self.groups[group as usize].block,
            SectionKind::Head => &self.head,
        }
    }

    /// The section, to be changed.
    pub fn section_mut(&mut self, kind: SectionKind) -> &mut Section {
        match kind {
            SectionKind::Prologue => &mut self.prologue,
            SectionKind::Block(group) => &mut self.groups[group as usize].block,
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
