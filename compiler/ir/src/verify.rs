//! The checker: the only maker of [`Checked<Graph>`].
//!
//! In: any graph. Out: the same graph as a type that later phases demand, or the first thing that
//! is wrong with it. Invariant: nothing after it checks a graph again, so a law that a later phase relies
//! on is added here; the law of one op is in `shape.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::dataflow;
use crate::dims::Dims;
use crate::graph::{Graph, SectionKind};
use crate::ids::{NodeId, WeightId};
use crate::op::Op;
use crate::shape::{infer, Extent, ShapeError, Type};

/// A level of the compiler with laws of its own.
pub trait Verify {
    /// Which law is broken.
    type Error;

    /// Checks every law.
    fn verify(&self) -> Result<(), Self::Error>;
}

/// A value that has passed [`Verify::verify`], and cannot be changed since.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked<T>(T);

impl<T: Verify> Checked<T> {
    /// Checks the value: the only way to make one.
    pub fn of(value: T) -> Result<Checked<T>, T::Error> {
        value.verify()?;
        Ok(Checked(value))
    }
}

impl<T> Checked<T> {
    /// The value, no longer checked.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Checked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Why a graph is not a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// Sizes that no model has.
    #[error("dims: {what}: expected {expected}, found {found}")]
    Dims {
        /// Which size.
        what: &'static str,
        /// The law.
        expected: &'static str,
        /// The value.
        found: u32,
    },
    /// A layer that is in no group or in several, or groups out of order.
    #[error("layer groups: expected every layer below {layers} in one group, by first layer; {problem}")]
    Groups {
        /// Layers of the model.
        layers: u32,
        /// The first layer or group that breaks the law.
        problem: String,
    },
    /// A weight of layers that two groups share.
    #[error("weight {name}: expected a declaration for each layer group that uses it")]
    SharedByGroups {
        /// Its name.
        name: String,
    },
    /// A section without result.
    #[error("{section:?}: no result; end the section with `return %N`")]
    NoRoot {
        /// The section.
        section: SectionKind,
    },
    /// A broken shape law.
    #[error("{section:?} {node}: {source}")]
    Shape {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
        /// The law.
        source: ShapeError,
    },
    /// A stated type that is not the inferred one.
    #[error("{section:?} {node}: stated type {stated}, but its operands make {inferred}")]
    Stated {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
        /// Type that the graph states.
        stated: Type,
        /// Type by the shape law.
        inferred: Type,
    },
    /// An op that may not stand in this section.
    #[error("{section:?} {node}: {op} does not belong in this section")]
    Misplaced {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
        /// The op's name.
        op: &'static str,
    },
    /// A node that nothing uses.
    #[error("{section:?} {node}: its value reaches no result")]
    Dead {
        /// The section.
        section: SectionKind,
        /// The node.
        node: NodeId,
    },
    /// A section whose result has the wrong type.
    #[error("{section:?}: result must be {expected}, found {found}")]
    Result {
        /// The section.
        section: SectionKind,
        /// The type it must have.
        expected: String,
        /// The type it has.
        found: Type,
    },
}

/// Checks a graph against every law.
pub fn verify(graph: Graph) -> Result<Checked<Graph>, VerifyError> {
    Checked::of(graph)
}

impl Verify for Graph {
    type Error = VerifyError;

    fn verify(&self) -> Result<(), VerifyError> {
        check_dims(&self.dims)?;
        check_groups(self)?;
        for kind in self.sections() {
            check_section(self, kind)?;
        }
        Ok(())
    }
}

fn check_dims(d: &Dims) -> Result<(), VerifyError> {
    let laws: [(&'static str, &'static str, u32, bool); 7] = [
        ("layers", "at least 1", d.layers, d.layers > 0),
        ("hidden", "at least 1", d.hidden, d.hidden > 0),
        ("intermediate", "at least 1", d.intermediate, d.intermediate > 0),
        ("kv_heads", "a divisor of heads", d.kv_heads, d.kv_heads > 0 && d.heads.is_multiple_of(d.kv_heads)),
        ("heads", "at least 1, and heads x head_dim below 2^24", d.heads, {
            d.heads > 0 && u64::from(d.heads) * u64::from(d.head_dim) < 1 << 24
        }),
        ("head_dim", "even and at least 2", d.head_dim, d.head_dim >= 2 && d.head_dim.is_multiple_of(2)),
        ("vocab_rows", "at least 1", d.vocab_rows, d.vocab_rows > 0),
    ];
    for (what, expected, found, ok) in laws {
        if !ok {
            return Err(VerifyError::Dims { what, expected, found });
        }
    }
    Ok(())
}

/// Every layer is in one group, groups stand in the order of their first layers, and none uses another's weights.
fn check_groups(graph: &Graph) -> Result<(), VerifyError> {
    let layers = graph.dims.layers;
    let problem = |problem: String| VerifyError::Groups { layers, problem };
    let mut seen = BTreeSet::new();
    let mut before = None;
    for group in &graph.groups {
        let first = group.layers.iter().next();
        let first = first.ok_or_else(|| problem("found a group without layers".to_string()))?;
        if before.is_some_and(|before| before > first) {
            return Err(problem(format!("found the group of layer {first} after a later one")));
        }
        before = Some(first);
        if let Some(layer) = group.layers.iter().find(|&layer| layer >= layers || !seen.insert(layer)) {
            return Err(problem(format!("found layer {layer} twice or beyond the last")));
        }
    }
    if let Some(layer) = (0..layers).find(|layer| !seen.contains(layer)) {
        return Err(problem(format!("layer {layer} is in none")));
    }
    let mut owners: BTreeMap<WeightId, usize> = BTreeMap::new();
    for (number, group) in graph.groups.iter().enumerate() {
        for node in &group.block.nodes {
            let Op::Weight(id) = node.op else { continue };
            let declared = graph.weights.get(id.0 as usize).filter(|w| w.per_layer());
            if let Some(weight) = declared.filter(|_| *owners.entry(id).or_insert(number) != number) {
                return Err(VerifyError::SharedByGroups { name: weight.name.clone() });
            }
        }
    }
    Ok(())
}

fn check_section(graph: &Graph, kind: SectionKind) -> Result<(), VerifyError> {
    let section = graph.section(kind);
    for id in section.ids() {
        let node = section.node(id);
        let at = |source| VerifyError::Shape { section: kind, node: id, source };
        let mut types = Vec::with_capacity(node.args.len());
        for &a in &node.args {
            if a >= id {
                return Err(at(ShapeError::UnknownOperand(a)));
            }
            types.push(&section.node(a).ty);
        }
        let inferred = infer(node.op, &types, &graph.dims, &graph.weights).map_err(at)?;
        if inferred != node.ty {
            return Err(VerifyError::Stated { section: kind, node: id, stated: node.ty.clone(), inferred });
        }
        if !belongs(graph, node.op, kind) {
            return Err(VerifyError::Misplaced { section: kind, node: id, op: node.op.name() });
        }
    }
    check_root(graph, kind)
}

/// The prologue alone reads tokens and has no input; per-layer weights and the cache are the block's.
fn belongs(graph: &Graph, op: Op, kind: SectionKind) -> bool {
    match op {
        Op::Input => kind != SectionKind::Prologue,
        Op::Embed => kind == SectionKind::Prologue,
        Op::CacheAppend(_) | Op::PrepareQkv(_) => matches!(kind, SectionKind::Block(_)),
        Op::Weight(id) => !graph.weight(id).per_layer() || matches!(kind, SectionKind::Block(_)),
        _ => true,
    }
}

fn check_root(graph: &Graph, kind: SectionKind) -> Result<(), VerifyError> {
    let section = graph.section(kind);
    let root = section.root.filter(|r| (r.0 as usize) < section.nodes.len());
    let root = root.ok_or(VerifyError::NoRoot { section: kind })?;
    let width = if kind == SectionKind::Head { graph.dims.vocab_rows } else { graph.dims.hidden };
    let expected = [Extent::Tokens, Extent::Fixed(width)];
    let found = &section.node(root).ty;
    if found.shape != expected {
        let expected = format!("[T, {width}]");
        return Err(VerifyError::Result { section: kind, expected, found: found.clone() });
    }
    match dataflow::dead(section).first() {
        Some(&node) => Err(VerifyError::Dead { section: kind, node }),
        None => Ok(()),
    }
}
