//! A section of the graph to an e-graph and back.
//!
//! In: a section. Out: the e-graph that holds it, with the class of its result and of each labelled
//! node; later, from one chosen e-node per class, a section in dependency order. Invariant: a node
//! that is equal to a labelled node of the source carries that label. What is equal to what is decided by
//! `rules/`, what is chosen by `extract.rs`; here is only the change of form.

use std::collections::BTreeMap;

use egg::Id;
use qwenc_ir::{Graph, Node, NodeId, Section, SectionKind};

use crate::analysis::{self, EGraph, Fact, TypeAnalysis};
use crate::error::OptError;
use crate::language::{Attributes, Epsilon, Kind, Term};

/// The e-node chosen for each class that the result needs.
pub(crate) type Selection = BTreeMap<Id, Term>;

/// A section in an e-graph.
pub(crate) struct SectionEGraph {
    pub kind: SectionKind,
    pub egraph: EGraph,
    /// The class of the result.
    pub root: Id,
    /// The class and name of each labelled node, in the section's order.
    pub labels: Vec<(Id, String)>,
}

/// An empty e-graph that knows the graph's sizes and weights.
pub(crate) fn empty(graph: &Graph) -> EGraph {
    EGraph::new(TypeAnalysis { dims: graph.dims, weights: graph.weights.clone() })
}

/// The section's nodes as e-nodes.
pub(crate) fn enter(graph: &Graph, kind: SectionKind) -> Result<SectionEGraph, OptError> {
    let section = graph.section(kind);
    let mut egraph = empty(graph);
    let mut classes: Vec<Id> = Vec::with_capacity(section.nodes.len());
    let mut labels = Vec::new();
    for node in &section.nodes {
        let mut children = match Attributes::of(node.op) {
            Attributes::None => Vec::new(),
            Attributes::Epsilon(eps) => vec![egraph.add(Term::Epsilon(Epsilon(eps)))],
            Attributes::Numbers(a, b) => [a, b].map(|n| egraph.add(Term::Number(n))).to_vec(),
        };
        children.extend(node.args.iter().map(|a| classes[a.0 as usize]));
        let class = egraph.add(Term::Apply(Kind::of(node.op), children));
        labels.extend(node.label.iter().map(|label| (class, label.clone())));
        classes.push(class);
    }
    egraph.rebuild();
    let root = section.root.ok_or(OptError::NoRoot { section: kind })?;
    Ok(SectionEGraph { kind, egraph, root: classes[root.0 as usize], labels })
}

/// The section that a selection makes; operands come first, in the order of their first use.
pub(crate) fn from_selection(from: &SectionEGraph, selection: &Selection) -> Result<Section, OptError> {
    let mut writer = Writer { from, selection, section: Section::default(), written: BTreeMap::new() };
    let root = writer.write(from.root).ok_or(OptError::NoExtraction { section: from.kind })?;
    writer.section.root = Some(root);
    Ok(writer.section)
}

struct Writer<'a> {
    from: &'a SectionEGraph,
    selection: &'a Selection,
    section: Section,
    /// `None` while a class's operands are being written, which a cycle would meet again.
    written: BTreeMap<Id, Option<NodeId>>,
}

impl Writer<'_> {
    fn write(&mut self, class: Id) -> Option<NodeId> {
        let egraph = &self.from.egraph;
        let class = egraph.find(class);
        if let Some(&written) = self.written.get(&class) {
            return written;
        }
        self.written.insert(class, None);
        let term = self.selection.get(&class)?;
        let args = term.operands().iter().map(|&id| self.write(id)).collect::<Option<Vec<_>>>()?;
        let (Term::Apply(kind, children), Fact::Value(ty)) = (term, &egraph[class].data) else {
            return None;
        };
        let op = analysis::op(*kind, children, |id| &egraph[id].data)?;
        let named = |(id, _): &&(Id, String)| egraph.find(*id) == class;
        let label = self.from.labels.iter().find(named).map(|(_, label)| label.clone());
        let id = NodeId(self.section.nodes.len() as u32);
        self.section.nodes.push(Node { op, args, ty: ty.clone(), label });
        self.written.insert(class, Some(id));
        Some(id)
    }
}
