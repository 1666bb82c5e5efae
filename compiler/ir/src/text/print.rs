//! Graph to text: `Display` of [`Graph`]. In: any graph, checked or not. Out: one line per node, with its
//! type and label.
//!
//! Invariant: everything that two graphs can differ in is printed, so that `parse.rs` loses nothing.

use std::fmt::{self, Display, Formatter};

use crate::graph::{Graph, LayerGroup, Node, Section};
use crate::ids::NodeId;
use crate::op::Op;
use crate::rope::{Rope, Scaling};

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let d = &self.dims;
        writeln!(f, "graph {:?}", self.name)?;
        write!(f, "dims layers={} hidden={} intermediate={}", d.layers, d.hidden, d.intermediate)?;
        write!(f, " heads={} kv_heads={} head_dim={}", d.heads, d.kv_heads, d.head_dim)?;
        writeln!(f, " vocab_rows={} context={}", d.vocab_rows, d.context)?;
        writeln!(f, "{}", self.rope)?;
        for (i, w) in self.weights.iter().enumerate() {
            write!(f, "weight @{i} {:?} {}[", w.name, w.dtype)?;
            for (j, n) in w.shape.iter().enumerate() {
                write!(f, "{}{n}", if j > 0 { ", " } else { "" })?;
            }
            writeln!(f, "]")?;
        }
        write_section(f, "prologue", &self.prologue)?;
        for group in &self.groups {
            write_section(f, &group.title(), &group.block)?;
        }
        write_section(f, "head", &self.head)
    }
}

impl LayerGroup {
    /// The line before its block: `layers 0-27`, `layers 1 3 5 window=512`.
    pub fn title(&self) -> String {
        let window = self.window.map_or(String::new(), |n| format!(" window={n}"));
        format!("layers {}{window}", self.layers)
    }
}

fn write_section(f: &mut Formatter<'_>, title: &str, section: &Section) -> fmt::Result {
    writeln!(f, "{title} {{")?;
    for id in section.ids() {
        write_node(f, id, section.node(id))?;
    }
    if let Some(root) = section.root {
        writeln!(f, "  return {root}")?;
    }
    writeln!(f, "}}")
}

fn write_node(f: &mut Formatter<'_>, id: NodeId, node: &Node) -> fmt::Result {
    write!(f, "  {id} = {}", node.op.name())?;
    match node.op {
        Op::Weight(w) => write!(f, " {w}")?,
        Op::RmsNorm(eps)
        | Op::HeadNorm(eps)
        | Op::Normalize(eps)
        | Op::NormLinear(eps)
        | Op::NormSwiglu(eps)
        | Op::NormLmHead(eps)
        | Op::HeadNormRope(eps)
        | Op::PrepareQkv(eps) => write!(f, " eps={eps}")?,
        Op::Slice { start, len } => write!(f, " start={start} len={len}")?,
        Op::SelectAdapter { rank, adapters } => write!(f, " rank={rank} adapters={adapters}")?,
        _ => {}
    }
    for a in &node.args {
        write!(f, " {a}")?;
    }
    write!(f, " : {}", node.ty)?;
    match &node.label {
        Some(label) => writeln!(f, " {label:?}"),
        None => writeln!(f),
    }
}

impl Display for Rope {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rope theta={}", self.theta)?;
        match self.scaling {
            Scaling::None => Ok(()),
            Scaling::Linear { factor } => write!(f, " linear factor={factor}"),
            Scaling::Ntk { factor } => write!(f, " ntk factor={factor}"),
            Scaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor } => {
                write!(f, " yarn factor={factor} original_context={original_context}")?;
                write!(f, " beta_fast={beta_fast} beta_slow={beta_slow} attention_factor={attention_factor}")
            }
            Scaling::Llama3 { factor, low, high, original_context } => {
                write!(f, " llama3 factor={factor} low={low} high={high} original_context={original_context}")
            }
        }
    }
}
