//! Graph to plan: one kernel per fused op; `weights.rs` makes packed tensors of weight expressions.
//!
//! In: an optimised graph. Out: a plan whose offsets are all set. Invariant: only fused ops have
//! kernels; an op that the optimiser should have removed is an error that names it.

mod weights;

use std::collections::{BTreeSet, HashMap};

use qwenc_ir::{Checked, Eps, Graph, LayerGroup, Node, NodeId, Op, Section, SectionKind, WeightId};
use qwenc_target::{LinearShape, Target};

use crate::activations::Activations;
use crate::lower_error::LowerError;
use crate::memory;
use crate::plan::{
    Attention, BufferId, Dest, Embed, Kernel, LastHiddenState, LayerGroup as PlanGroup, Linear, Plan,
    PrepareQkv, SelectAdapter, Swiglu,
};
use crate::segment::{Layout, Segment};
use crate::weight_expr;
use weights::{Reading, Weight};

/// Choices that are not the graph's.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes left free at the start of the image, rounded up to a page.
    pub reserve: u64,
    /// Precision of the inputs of linears.
    pub activations: Activations,
    /// Weights of bf16 that do not fit [`Operand::Bf12`](qwenc_formats::Operand::Bf12):
    /// [`Dictionaries::misfits`](crate::Dictionaries::misfits) of a plan that compresses them.
    pub plain: BTreeSet<WeightId>,
}

/// Plans a graph for a target.
pub fn lower(
    graph: &Checked<Graph>,
    target: &dyn Target,
    options: &Options,
) -> Result<Checked<Plan>, LowerError> {
    target.check(&graph.dims)?;
    let plan = Plan::of_model(graph);
    let (rope, stream) = (BufferId(0), BufferId(0));
    let mut l = Lowering { graph, target, plan, rope, stream, options };
    l.stream = l.buffer("x", graph.dims.hidden);
    l.rope = l.buffer("rope", graph.dims.head_dim);
    for kind in graph.sections() {
        let kernels = l.section(kind)?;
        match kind {
            SectionKind::Prologue => l.plan.prologue = kernels,
            SectionKind::Block(group) => {
                let LayerGroup { layers, window, .. } = graph.groups[group as usize].clone();
                l.plan.groups.push(PlanGroup { layers, window, record_bytes: 0, block: kernels });
            }
            SectionKind::Head => l.plan.head = kernels,
        }
    }
    l.plan.hidden = l.hidden()?;
    memory::place_segments(&mut l.plan, options.reserve);
    memory::place_buffers(&mut l.plan);
    Ok(Checked::of(l.plan)?)
}

struct Lowering<'a> {
    graph: &'a Graph,
    target: &'a dyn Target,
    plan: Plan,
    rope: BufferId,
    /// The residual stream.
    stream: BufferId,
    options: &'a Options,
}

/// The section being lowered and where its values live.
struct Scope<'a> {
    kind: SectionKind,
    section: &'a Section,
    places: HashMap<NodeId, BufferId>,
}

impl Scope<'_> {
    fn no_kernel(&self, id: NodeId) -> LowerError {
        LowerError::NoKernel { section: self.kind, node: id, op: self.section.node(id).op.name() }
    }

    fn place(&self, id: NodeId) -> Result<BufferId, LowerError> {
        self.places.get(&id).copied().ok_or_else(|| self.no_kernel(id))
    }

    fn used_after(&self, value: NodeId, by: NodeId) -> bool {
        let later = self.section.ids().skip(by.0 as usize + 1);
        self.section.root == Some(value)
            || later.into_iter().any(|n| self.section.node(n).args.contains(&value))
    }
}

impl Lowering<'_> {
    fn buffer(&mut self, name: &str, width: u32) -> BufferId {
        memory::f32_buffer(&mut self.plan, name, width)
    }

    fn section(&mut self, kind: SectionKind) -> Result<Vec<Kernel>, LowerError> {
        let graph = self.graph;
        let section = graph.section(kind);
        let mut scope = Scope { kind, section, places: HashMap::new() };
        let mut kernels = Vec::new();
        for id in section.ids() {
            let node = section.node(id);
            if node.ty.constant {
                continue;
            }
            let place = self.node(&scope, id, node, &mut kernels)?;
            if let Some(place) = place {
                scope.places.insert(id, place);
            }
        }
        // A checked section has a root; the head's goes to the caller's logits.
        let root = section.root.unwrap_or(NodeId(0));
        if kind != SectionKind::Head && scope.place(root)? != self.stream {
            let what = "the section must end in the residual stream's buffer";
            return Err(LowerError::InPlace { section: kind, node: root, what });
        }
        Ok(kernels)
    }

    /// The stream as the head reads it, and the gain of its norm, which the head's weight may have taken in.
    fn hidden(&mut self) -> Result<LastHiddenState, LowerError> {
        let section = self.graph.section(SectionKind::Head);
        let scope = Scope { kind: SectionKind::Head, section, places: HashMap::new() };
        let weight = section.root.and_then(|root| section.node(root).args.get(1));
        let gain = weight
            .map(|&weight| weight_expr::take_apart(scope.kind, scope.section, weight))
            .transpose()?
            .and_then(|w| w.gain);
        Ok(LastHiddenState {
            state: self.stream,
            gain: gain.map(|gain| self.vector_segment(scope.kind, vec![gain])),
        })
    }

    fn node(
        &mut self,
        scope: &Scope,
        id: NodeId,
        node: &Node,
        kernels: &mut Vec<Kernel>,
    ) -> Result<Option<BufferId>, LowerError> {
        let width = node.ty.token_width().ok_or_else(|| scope.no_kernel(id))?;
        match node.op {
            Op::Input => Ok(Some(self.stream)),
            Op::Embed => {
                let reading = Reading { layout: Layout::Panels, cut: false };
                let [table] = self.weights(scope, node.args[0], reading)?[..] else {
                    return Err(scope.no_kernel(id));
                };
                let table = table.segment;
                kernels.push(Kernel::Embed(Embed { table, out: self.stream, rope: self.rope }));
                Ok(Some(self.stream))
            }
            Op::Linear | Op::NormLinear(_) | Op::NormSwiglu(_) => {
                let out = self.buffer(node.op.name(), width);
                kernels.extend(self.linears_to(scope, node, out)?);
                Ok(Some(out))
            }
            Op::LinearAdd => {
                let residual = residual(scope, id)?;
                for linear in self.linears(scope, node, Dest::Buffer(residual))? {
                    kernels.push(Kernel::Linear(Linear { residual: Some(residual), ..linear }));
                }
                Ok(Some(residual))
            }
            Op::LmHead | Op::NormLmHead(_) => {
                kernels.extend(self.linears(scope, node, Dest::Logits)?.into_iter().map(Kernel::Linear));
                Ok(None)
            }
            Op::PrepareQkv(eps) => {
                let prepare = self.prepare_qkv(scope, id, eps)?;
                kernels.push(Kernel::PrepareQkv(prepare));
                Ok(Some(prepare.qkv))
            }
            Op::PreparedAttention => {
                let q = scope.place(node.args[0])?;
                let out = self.buffer("attention", width);
                kernels.push(Kernel::Attention(Attention { q, out }));
                Ok(Some(out))
            }
            Op::SelectAdapter { rank, adapters } => {
                let select = select_adapter(scope, id, (rank, adapters))?;
                kernels.push(Kernel::SelectAdapter(select));
                Ok(Some(select.columns))
            }
            Op::Swiglu => {
                let input = scope.place(node.args[0])?;
                let out = self.buffer(node.op.name(), width);
                kernels.push(Kernel::Swiglu(Swiglu { input, out }));
                Ok(Some(out))
            }
            _ => Err(scope.no_kernel(id)),
        }
    }

    /// Linears that write a buffer, and what joins gate and up where these are of different formats and meet in no tile.
    fn linears_to(&mut self, scope: &Scope, node: &Node, out: BufferId) -> Result<Vec<Kernel>, LowerError> {
        let linears = self.linears(scope, node, Dest::Buffer(out))?;
        if linears.iter().all(|l| !l.swiglu || self.plan.segment(l.weight).layout == Layout::PairedPanels) {
            return Ok(linears.into_iter().map(Kernel::Linear).collect());
        }
        let input = self.buffer("gate_up", 2 * self.plan.buffer(out).width);
        let each = |l| Kernel::Linear(Linear { swiglu: false, out: Dest::Buffer(input), ..l });
        let join = Kernel::Swiglu(Swiglu { input, out });
        Ok(linears.into_iter().map(each).chain([join]).collect())
    }

    /// Norm and RoPE of q and k, in place.
    fn prepare_qkv(&mut self, scope: &Scope, id: NodeId, eps: Eps) -> Result<PrepareQkv, LowerError> {
        let args = &scope.section.node(id).args;
        let qkv = scope.place(args[0])?;
        if scope.used_after(args[0], id) {
            let what = "q, k and v are used after being rotated in place";
            return Err(LowerError::InPlace { section: scope.kind, node: id, what });
        }
        let q_gain = self.vector(scope, args[1])?;
        let k_gain = self.vector(scope, args[2])?;
        Ok(PrepareQkv { qkv, rope: self.rope, eps, q_gain, k_gain })
    }

    /// Linears without residual, from an op whose operands start with `x, w` and maybe `b`: one for each run of rows in one
    /// format, each writing the columns behind those of the run before.
    fn linears(&mut self, scope: &Scope, node: &Node, out: Dest) -> Result<Vec<Linear>, LowerError> {
        let (norm, swiglu) = match node.op {
            Op::NormLinear(eps) | Op::NormLmHead(eps) => (Some(eps), false),
            Op::NormSwiglu(eps) => (Some(eps), true),
            _ => (None, false),
        };
        let layout = if swiglu { Layout::PairedPanels } else { Layout::Panels };
        let reading = Reading { layout, cut: norm.is_none() && out != Dest::Logits };
        let weights = self.weights(scope, node.args[1], reading)?;
        let bias = match node.op {
            Op::LmHead | Op::NormLmHead(_) => None,
            _ => self.vector(scope, node.args[2])?,
        };
        let of_mlp = swiglu || reads_mlp(scope, node.args[0]);
        let input = scope.place(node.args[0])?;
        let linear = |Weight { segment: weight, gain, first }| {
            let Segment { format, cols, .. } = *self.plan.segment(weight);
            let inputs = self.options.activations.inputs(format, of_mlp, out == Dest::Logits);
            let shape = LinearShape { format, cols, inputs, norm: norm.is_some() };
            let scratch = memory::scratch_buffer(&mut self.plan, self.target.scratch_row_bytes(&shape));
            Linear { input, norm, gain, weight, bias, residual: None, inputs, swiglu, scratch, out, first }
        };
        Ok(weights.into_iter().map(linear).collect())
    }
}

/// The residual that a linear adds to where it is.
fn residual(scope: &Scope, id: NodeId) -> Result<BufferId, LowerError> {
    let args = &scope.section.node(id).args;
    let residual = scope.place(args[3])?;
    if scope.used_after(args[3], id) || args[..3].contains(&args[3]) {
        let what = "the residual is used after being overwritten";
        return Err(LowerError::InPlace { section: scope.kind, node: id, what });
    }
    Ok(residual)
}

/// The choice of an adapter, in place.
fn select_adapter(
    scope: &Scope,
    id: NodeId,
    (rank, adapters): (u32, u32),
) -> Result<SelectAdapter, LowerError> {
    let ranks = scope.section.node(id).args[0];
    if scope.used_after(ranks, id) {
        let what = "ranks are used after those of other adapters became 0 in place";
        return Err(LowerError::InPlace { section: scope.kind, node: id, what });
    }
    Ok(SelectAdapter { columns: scope.place(ranks)?, rank, adapters })
}

/// Whether a value is what SwiGLU made, which the MLP's second linear reads.
fn reads_mlp(scope: &Scope, value: NodeId) -> bool {
    matches!(scope.section.node(value).op, Op::NormSwiglu(_) | Op::Swiglu)
}
