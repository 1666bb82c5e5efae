//! Saturated e-graphs as Graphviz text.
//!
//! In: the e-graph of each section. Out: one digraph. Invariant: an e-class is a cluster of its e-nodes, in the order of
//! their numbers, and every edge ends at an e-node of the class that it means.

use std::fmt::Write;

use egg::Language;
use qwenc_ir::SectionKind;

use crate::analysis::EGraph;

/// The digraph of these sections.
pub(crate) fn digraph(sections: &[(SectionKind, EGraph)]) -> String {
    let mut text =
        String::from("digraph egraph {\n  compound=true\n  clusterrank=local\n  node [shape=box]\n");
    for (kind, egraph) in sections {
        let name = match kind {
            SectionKind::Prologue => "prologue".to_string(),
            SectionKind::Block(group) => format!("block{group}"),
            SectionKind::Head => "head".to_string(),
        };
        // Writing to a string does not fail.
        let _ = section(&mut text, &name, egraph);
    }
    text + "}\n"
}

/// The clusters of a section's classes, then their edges. An edge ends at a class's first node and, with
/// `compound`, is drawn to the border of its cluster.
fn section(text: &mut String, kind: &str, egraph: &EGraph) -> std::fmt::Result {
    let mut classes: Vec<_> = egraph.classes().collect();
    classes.sort_by_key(|class| class.id);
    for class in &classes {
        let id = class.id;
        writeln!(text, "  subgraph cluster_{kind}_{id} {{\n    style=dotted\n    label=\"{kind} {id}\"")?;
        for (i, node) in class.nodes.iter().enumerate() {
            writeln!(text, "    {kind}_{id}_{i} [label={:?}]", node.to_string())?;
        }
        text.push_str("  }\n");
    }
    for class in &classes {
        for (i, node) in class.nodes.iter().enumerate() {
            for (operand, &child) in node.children().iter().enumerate() {
                let (from, to) = (class.id, egraph.find(child));
                write!(text, "  {kind}_{from}_{i} -> {kind}_{to}_0 [label=\"{operand}\"")?;
                match from == to {
                    true => text.push_str("]\n"),
                    false => writeln!(text, ", lhead=cluster_{kind}_{to}]")?,
                }
            }
        }
    }
    Ok(())
}
