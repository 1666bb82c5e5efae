//! The parts of which families build their graphs: norms, linears, attention, MLP, prologue, head.
//!
//! In: operands. Out: nodes, labelled where a reference implementation names the same value. Invariant:
//! one function here is one part of the model as its paper writes it; rewriting is not done here. What
//! only one family has stays in its folder; labels are what comparisons with transformers go by.

use std::collections::HashMap;

use qwenc_formats::DType;
use qwenc_ir::{Elements, Eps, Graph, Layers, NodeId, Op, SectionKind, ShapeError, Slot, WeightId};

use crate::config::Config;
use crate::error::Result;
use crate::runtime_lora::RuntimeLora;
use crate::tensor_names::{EMBEDDING, FINAL_NORM, LM_HEAD};
use crate::tensor_spec::TensorSpec;

type Node = std::result::Result<NodeId, ShapeError>;

/// Storage format of a tensor, by layer where layers have one each.
pub(crate) type TypeOf<'a> = &'a dyn Fn(&TensorSpec, u32) -> DType;

/// q, k and v, as RoPE and the cache take them: `[T, H·h]`, `[T, K·h]` twice.
pub(crate) type Projected = std::result::Result<[NodeId; 3], ShapeError>;

/// A graph under construction, and the section that nodes go to.
pub(crate) struct GraphBuilder<'a> {
    pub graph: Graph,
    section: SectionKind,
    adapters: Option<&'a RuntimeLora>,
    /// Declarations by name and layer group; those of the model are found in every group.
    declared: HashMap<(&'static str, u32), WeightId>,
}

impl<'a> GraphBuilder<'a> {
    /// A graph without nodes whose weight table is `tensors`, in that order, then those of runtime adapters; for each
    /// further layer group, those of layers again. Layers with the same types and window are a group.
    pub fn new(
        config: &Config,
        tensors: &[TensorSpec],
        type_of: TypeOf,
        adapters: Option<&'a RuntimeLora>,
    ) -> GraphBuilder<'a> {
        let graph = Graph::new(&config.model_type, config.dims, config.rope);
        let mut builder =
            GraphBuilder { graph, section: SectionKind::Prologue, adapters, declared: HashMap::new() };
        let of_adapters = adapters.map(|a| a.tensors(tensors)).unwrap_or_default();
        for (number, (layers, window)) in (0..).zip(layer_groups(config, tensors, type_of)) {
            let is_new = |spec: &&TensorSpec| number == 0 || spec.per_layer();
            let layer = layers.iter().next().unwrap_or(0);
            for spec in tensors.iter().filter(is_new) {
                builder.declare(spec, number, type_of(spec, layer));
            }
            for spec in of_adapters.iter().filter(is_new) {
                builder.declare(spec, number, DType::F32);
            }
            builder.graph.add_group(layers, window);
        }
        builder
    }

    fn declare(&mut self, spec: &TensorSpec, group: u32, dtype: DType) {
        let id = self.graph.declare(spec.name, dtype, &spec.shape);
        self.declared.insert((spec.name, group), id);
    }

    pub fn enter(&mut self, section: SectionKind) {
        self.section = section;
    }

    pub fn push(&mut self, op: Op, args: &[NodeId]) -> Node {
        self.graph.push(self.section, op, args)
    }

    pub fn named(&mut self, label: &str, op: Op, args: &[NodeId]) -> Node {
        let id = self.push(op, args)?;
        self.graph.label(self.section, id, label);
        Ok(id)
    }

    /// Ends the section.
    pub fn result(&mut self, id: NodeId) {
        self.graph.section_mut(self.section).root = Some(id);
    }

    /// The stored tensor; the name is one of the table given to [`GraphBuilder::new`].
    pub fn weight(&mut self, name: &str) -> Node {
        let group = match self.section {
            SectionKind::Block(group) => group,
            SectionKind::Prologue | SectionKind::Head => 0,
        };
        // An id past the table makes `push` answer with ShapeError::UnknownWeight.
        let unknown = WeightId(self.graph.weights.len() as u32);
        let id = self.declared.get(&(name, group)).copied().unwrap_or(unknown);
        self.push(Op::Weight(id), &[])
    }

    /// The stored matrix as f32.
    pub fn matrix(&mut self, name: &str) -> Node {
        let w = self.weight(name)?;
        match self.graph.section(self.section).node(w).ty.elements == Elements::One(DType::F32) {
            true => Ok(w),
            false => self.push(Op::Dequant, &[w]),
        }
    }

    pub fn rms_norm(&mut self, label: &str, x: NodeId, gain: &str, eps: Eps) -> Node {
        let g = self.weight(gain)?;
        self.named(label, Op::RmsNorm(eps), &[x, g])
    }

    pub fn head_norm(&mut self, label: &str, x: NodeId, gain: &str, eps: Eps) -> Node {
        let g = self.weight(gain)?;
        self.named(label, Op::HeadNorm(eps), &[x, g])
    }

    /// With the difference that the token's adapter makes, if there are adapters of this matrix.
    pub fn linear(&mut self, label: &str, x: NodeId, w: &str, bias: Option<&str>) -> Node {
        let kept = self.adapters.and_then(|a| Some((a.ranks(), a.of(w)?)));
        let w = self.matrix(w)?;
        let b = match bias {
            Some(name) => self.weight(name)?,
            None => self.push(Op::Absent, &[])?,
        };
        let Some(((rank, adapters), [down, up])) = kept else {
            return self.named(label, Op::Linear, &[x, w, b]);
        };
        let y = self.push(Op::Linear, &[x, w, b])?;
        let (down, up, none) = (self.weight(down)?, self.weight(up)?, self.push(Op::Absent, &[])?);
        let ranks = self.push(Op::Linear, &[x, down, none])?;
        let ranks = self.push(Op::SelectAdapter { rank, adapters }, &[ranks])?;
        let difference = self.push(Op::Linear, &[ranks, up, none])?;
        self.named(label, Op::Add, &[y, difference])
    }

    /// Rotated q and k, and v, to the context `[T, H·h]`.
    pub fn attention(&mut self, q: NodeId, k: NodeId, v: NodeId) -> Node {
        let q = self.named("q_rope", Op::Rope, &[q])?;
        let k = self.named("k_rope", Op::Rope, &[k])?;
        let k = self.push(Op::CacheAppend(Slot::K), &[k])?;
        let v = self.push(Op::CacheAppend(Slot::V), &[v])?;
        let k = self.push(Op::RepeatKv, &[k])?;
        let v = self.push(Op::RepeatKv, &[v])?;
        let s = self.push(Op::Scores, &[q, k])?;
        let s = self.push(Op::CausalMask, &[s])?;
        let p = self.push(Op::Softmax, &[s])?;
        self.named("attn", Op::WeightedSum, &[p, v])
    }

    /// `down(silu(gate(x)) · up(x))`, of the layer's `mlp` tensors.
    pub fn swiglu_mlp(&mut self, x: NodeId) -> Node {
        let gate = self.linear("gate", x, "model.layers.*.mlp.gate_proj.weight", None)?;
        let up = self.linear("up", x, "model.layers.*.mlp.up_proj.weight", None)?;
        let gate = self.push(Op::Silu, &[gate])?;
        let act = self.push(Op::Mul, &[gate, up])?;
        self.linear("down", act, "model.layers.*.mlp.down_proj.weight", None)
    }

    /// Tokens to the residual stream.
    pub fn prologue(&mut self) -> Result<()> {
        self.enter(SectionKind::Prologue);
        let w = self.weight(EMBEDDING)?;
        let x = self.named("embed", Op::Embed, &[w])?;
        self.result(x);
        Ok(())
    }

    /// The residual stream to logits.
    pub fn head(&mut self, config: &Config) -> Result<()> {
        self.enter(SectionKind::Head);
        let x = self.push(Op::Input, &[])?;
        let x = self.rms_norm("final_norm", x, FINAL_NORM, config.eps)?;
        let w = self.matrix(if config.tied { EMBEDDING } else { LM_HEAD })?;
        let logits = self.named("logits", Op::LmHead, &[x, w])?;
        self.result(logits);
        Ok(())
    }
}

/// Layers with the same window and the same types of all their tensors, in the order of their first layers.
fn layer_groups(config: &Config, tensors: &[TensorSpec], type_of: TypeOf) -> Vec<(Layers, Option<u32>)> {
    let mut kinds: Vec<(Option<u32>, Vec<DType>, Vec<u32>)> = Vec::new();
    for (layer, &window) in (0..config.dims.layers).zip(&config.windows) {
        let types: Vec<DType> =
            tensors.iter().filter(|spec| spec.per_layer()).map(|spec| type_of(spec, layer)).collect();
        match kinds.iter_mut().find(|(w, t, _)| *w == window && *t == types) {
            Some((_, _, layers)) => layers.push(layer),
            None => kinds.push((window, types, vec![layer])),
        }
    }
    kinds.into_iter().map(|(window, _, layers)| (layers.into_iter().collect(), window)).collect()
}
