//! The reference interpreter: slow, obvious, the semantics of every op.
//!
//! In: a checked graph, weights, tokens. Out: logits, and every labelled activation on the way.
//! Invariant: accumulation is in f64; in [`Precision::F32`] each op's result is rounded to f32, so
//! an op that fuses others rounds where they would.

mod attention;
mod eval;
#[cfg(test)]
mod tests;
mod value;

use crate::graph::{Graph, Section, SectionKind};
use crate::ids::NodeId;
use crate::op::{Op, Slot};
use crate::verify::Checked;
use qwenc_formats::WeightError;

use crate::weights::WeightSource;

pub use value::{Precision, Value};

/// Called with the name (`layer.3.q_rope`) and value of each labelled activation.
pub type Observer<'a> = &'a mut dyn FnMut(&str, &Value);

/// A model being interpreted: one sequence, its cache filled by the steps so far.
pub struct Interpreter<'a> {
    graph: &'a Checked<Graph>,
    weights: &'a dyn WeightSource,
    precision: Precision,
    inv_freq: Vec<f32>,
    adapter: Option<u32>,
    /// `[layer][slot]`: cached rows `[past, K·h]`.
    cache: Vec<[Value; 2]>,
    past: usize,
}

/// State that ops read besides their operands.
pub(crate) struct Context<'a> {
    pub graph: &'a Graph,
    pub precision: Precision,
    pub inv_freq: &'a [f32],
    pub layer: u32,
    /// Sliding window of this layer.
    pub window: Option<u32>,
    /// The sequence's adapter, counted from 0.
    pub adapter: Option<u32>,
    pub tokens: &'a [u32],
    /// Cached rows of this layer before the step.
    pub cached: &'a [Value; 2],
    /// Positions before the step.
    pub past: usize,
    /// Cached rows after the step, as ops append them.
    pub appended: [Option<Value>; 2],
}

impl<'a> Interpreter<'a> {
    /// A model with an empty cache.
    pub fn new(graph: &'a Checked<Graph>, weights: &'a dyn WeightSource, precision: Precision) -> Self {
        let dims = graph.dims;
        let empty = || Value::zeros(0, dims.kv_width() as usize);
        let cache = (0..dims.layers).map(|_| [empty(), empty()]).collect();
        let inv_freq = graph.rope.inv_freq(dims.head_dim);
        Interpreter { graph, weights, precision, inv_freq, adapter: None, cache, past: 0 }
    }

    /// The same with the adapter of this number, from 0, for all of the sequence.
    pub fn with_adapter(self, adapter: u32) -> Self {
        Interpreter { adapter: Some(adapter), ..self }
    }

    /// Runs `tokens` after those of earlier steps; returns logits `[T, V]`. Tokens must be below V.
    pub fn step(&mut self, tokens: &[u32], observe: Observer) -> Result<Value, WeightError> {
        let input = Value::zeros(0, 0);
        let mut x = self.section(SectionKind::Prologue, 0, tokens, &input, observe)?;
        for layer in 0..self.graph.dims.layers {
            // A checked graph has a group for every layer.
            let group = self.graph.group_of(layer).unwrap_or(0);
            x = self.section(SectionKind::Block(group), layer, tokens, &x, observe)?;
        }
        let logits = self.section(SectionKind::Head, 0, tokens, &x, observe)?;
        self.past += tokens.len();
        Ok(logits)
    }

    /// Runs one section on a given input, as `step` does for each in turn.
    pub fn section(
        &mut self,
        kind: SectionKind,
        layer: u32,
        tokens: &[u32],
        input: &Value,
        observe: Observer,
    ) -> Result<Value, WeightError> {
        let section = self.graph.section(kind);
        let mut context = Context {
            graph: self.graph,
            precision: self.precision,
            inv_freq: &self.inv_freq,
            layer,
            window: match kind {
                SectionKind::Block(group) => self.graph.groups[group as usize].window,
                SectionKind::Prologue | SectionKind::Head => None,
            },
            adapter: self.adapter,
            tokens,
            cached: &self.cache[layer as usize],
            past: self.past,
            appended: [None, None],
        };
        let values = run(section, &mut context, self.weights, input)?;
        for id in section.ids() {
            if let Some(label) = &section.node(id).label {
                let name = match kind {
                    SectionKind::Block(_) => format!("layer.{layer}.{label}"),
                    SectionKind::Prologue | SectionKind::Head => label.clone(),
                };
                observe(&name, &values[id.0 as usize]);
            }
        }
        for (slot, rows) in context.appended.into_iter().enumerate() {
            if let Some(rows) = rows {
                self.cache[layer as usize][slot] = rows;
            }
        }
        // A checked section has a root.
        let root = section.root.unwrap_or(NodeId(0));
        Ok(values[root.0 as usize].clone())
    }
}

fn run(
    section: &Section,
    context: &mut Context,
    weights: &dyn WeightSource,
    input: &Value,
) -> Result<Vec<Value>, WeightError> {
    let mut values: Vec<Value> = Vec::with_capacity(section.nodes.len());
    for node in &section.nodes {
        let value = match node.op {
            Op::Input => input.clone(),
            Op::Weight(id) => {
                let tensor = weights.tensor(context.graph.weight(id), context.layer)?;
                Value::from_f32(tensor.rows(), tensor.cols(), &tensor.to_f32())
            }
            op => {
                let args: Vec<&Value> = node.args.iter().map(|a| &values[a.0 as usize]).collect();
                eval::eval(op, &args, context)
            }
        };
        values.push(value);
    }
    Ok(values)
}

impl Context<'_> {
    /// The cached rows of a slot followed by `new`, which also become the cache after the step.
    pub fn append(&mut self, slot: Slot, new: &Value) -> Value {
        let i = slot as usize;
        let all = self.cached[i].concat_rows(new);
        self.appended[i] = Some(all.clone());
        all
    }
}
