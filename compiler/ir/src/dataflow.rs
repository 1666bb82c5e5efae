//! A section as a petgraph: which nodes feed which. In: a section. Out: reachability and DOT.
//!
//! The one file that knows petgraph; a question about who depends on whom is answered here.

use petgraph::dot::{Config, Dot};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

use crate::graph::Section;
use crate::ids::NodeId;

/// Edges run from operand to user. Operands that do not exist have no edge.
pub fn digraph(section: &Section) -> DiGraph<NodeId, ()> {
    let mut g = DiGraph::with_capacity(section.nodes.len(), 2 * section.nodes.len());
    for id in section.ids() {
        g.add_node(id);
    }
    for id in section.ids() {
        for a in &section.node(id).args {
            if (a.0 as usize) < section.nodes.len() {
                g.add_edge(NodeIndex::new(a.0 as usize), NodeIndex::new(id.0 as usize), ());
            }
        }
    }
    g
}

/// Nodes that the root does not depend on, in order.
pub fn dead(section: &Section) -> Vec<NodeId> {
    let g = digraph(section);
    let mut live = vec![false; section.nodes.len()];
    if let Some(root) = section.root.filter(|r| (r.0 as usize) < section.nodes.len()) {
        let reversed = Reversed(&g);
        let mut dfs = Dfs::new(reversed, NodeIndex::new(root.0 as usize));
        while let Some(i) = dfs.next(reversed) {
            live[i.index()] = true;
        }
    }
    section.ids().filter(|id| !live[id.0 as usize]).collect()
}

/// Graphviz text of a section, one box per node: `%3 linear : [T, 256]`.
pub fn dot(section: &Section) -> String {
    let label = |_, (_, id): (NodeIndex, &NodeId)| {
        let node = section.node(*id);
        format!("shape=box label=\"{id} {} : {}\"", node.op.name(), node.ty)
    };
    let g = digraph(section);
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    format!("{:?}", Dot::with_attr_getters(&g, &config, &|_, _| String::new(), &label))
}
