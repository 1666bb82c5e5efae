//! Terms without variables as models that run.
//!
//! In: a rule's side with its variables bound, and a context that makes of its value the result of a
//! section. Out: the values of that side in every layer over two steps. `$name` stands for a weight,
//! `_` in a context for the side.

use egg::RecExpr;
use qwenc_formats::DType;
use qwenc_ir::interp::{Interpreter, Precision};
use qwenc_ir::{verify, Checked, Graph, Op, SectionKind};

use crate::analysis::{EGraph, Fact};
use crate::language::Term;
use crate::rules::Rule;
use crate::section::{self, SectionEGraph, Selection};
use qwenc_testing::families::{self, Random, Writer, DIMS, I8};

/// Weights of the block that terms can name.
const BLOCK_WEIGHTS: [(&str, DType, &[u32]); 39] = [
    ("bqkv", DType::F32, &[384]),
    ("g", DType::F32, &[96]),
    ("square", DType::F32, &[96, 96]),
    ("bias", DType::F32, &[96]),
    ("q", DType::F32, &[192, 96]),
    ("k", DType::F32, &[96, 96]),
    ("v", DType::F32, &[96, 96]),
    ("q_bf16", DType::Bf16, &[192, 96]),
    ("k_bf16", DType::Bf16, &[96, 96]),
    ("v_bf16", DType::Bf16, &[96, 96]),
    ("q_i8", I8, &[192, 96]),
    ("k_i8", I8, &[96, 96]),
    ("v_i8", I8, &[96, 96]),
    ("bq", DType::F32, &[192]),
    ("bk", DType::F32, &[96]),
    ("bv", DType::F32, &[96]),
    ("bk_bf16", DType::Bf16, &[96]),
    ("gq", DType::F32, &[48]),
    ("gk", DType::F32, &[48]),
    ("qkv", DType::F32, &[384, 96]),
    ("o", DType::F32, &[96, 192]),
    ("gate", DType::F32, &[160, 96]),
    ("up", DType::F32, &[160, 96]),
    ("down", DType::F32, &[96, 160]),
    ("bf", DType::F32, &[160]),
    ("aq", DType::F32, &[6, 96]),
    ("ak", DType::F32, &[6, 96]),
    ("av", DType::F32, &[6, 96]),
    ("ak_bf16", DType::Bf16, &[6, 96]),
    ("lq", DType::F32, &[192, 6]),
    ("lk", DType::F32, &[96, 6]),
    ("lv", DType::F32, &[96, 6]),
    ("lk_bf16", DType::Bf16, &[96, 6]),
    ("ag", DType::F32, &[6, 96]),
    ("au", DType::F32, &[6, 96]),
    ("au_bf16", DType::Bf16, &[6, 96]),
    ("lg", DType::F32, &[160, 6]),
    ("lu", DType::F32, &[160, 6]),
    ("lu_bf16", DType::Bf16, &[160, 6]),
];

/// Weights that both sections may name.
const SHARED_WEIGHTS: [(&str, DType, &[u32]); 7] = [
    ("final", DType::F32, &[96]),
    ("up_bf16", DType::Bf16, &[160, 96]),
    ("bf_bf16", DType::Bf16, &[160]),
    ("gu", DType::F32, &[320, 96]),
    ("bgu", DType::F32, &[320]),
    ("head", DType::F32, &[61, 96]),
    ("head_i8", I8, &[61, 96]),
];

/// The block of the only layer group.
pub(super) const BLOCK: SectionKind = SectionKind::Block(0);

/// A side of a rule as a model.
pub(super) struct Side {
    pub kind: SectionKind,
    /// The side, without variables.
    pub term: String,
    pub context: &'static str,
}

/// Text with each token that starts with `mark` replaced.
fn substitute(text: &str, mark: char, with: impl Fn(&str) -> String) -> String {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let token = |t: &str| t.strip_prefix(mark).map_or(t.to_string(), &with);
    spaced.split_whitespace().map(token).collect::<Vec<_>>().join(" ")
}

/// A side with its variables bound, as in `?x = input, ?w = $q`.
pub(super) fn bind(side: &str, bindings: &str) -> String {
    let bound = |name: &str| {
        let found =
            bindings.split(", ").find_map(|b| b.strip_prefix('?')?.strip_prefix(name)?.strip_prefix(" = "));
        found.unwrap_or_else(|| panic!("?{name} is not bound by {bindings}")).to_string()
    };
    substitute(side, '?', bound)
}

/// Declares all weights; the graph has a prologue, no block and no head.
fn declared() -> Graph {
    let mut graph = families::with_prologue(DIMS, Some(3));
    for (name, dtype, shape) in BLOCK_WEIGHTS {
        graph.declare(&format!("layers.*.{name}"), dtype, shape);
    }
    for (name, dtype, shape) in SHARED_WEIGHTS {
        graph.declare(name, dtype, shape);
    }
    graph
}

impl Side {
    fn parse(&self, graph: &Graph, text: &str) -> RecExpr<Term> {
        let weight = |name: &str| {
            let named = |w: &qwenc_ir::WeightDecl| w.name == name || w.name == format!("layers.*.{name}");
            let i = graph.weights.iter().position(named);
            format!("@{}", i.unwrap_or_else(|| panic!("no weight ${name}")))
        };
        let text = substitute(text, '$', weight);
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// The model in which the side's value is labelled `value`, or the law that it breaks.
    pub fn model(&self) -> Result<Checked<Graph>, String> {
        let mut graph = declared();
        let mut egraph = section::empty(&graph);
        let value = egraph.add_expr(&self.parse(&graph, &self.term));
        let whole = substitute(self.context, '_', |_| self.term.clone());
        let root = egraph.add_expr(&self.parse(&graph, &whole));
        egraph.rebuild();
        let broken = egraph.classes().find_map(|c| match &c.data {
            Fact::Broken(what) => Some(what.clone()),
            _ => None,
        });
        if let Some(what) = broken {
            return Err(what);
        }
        let labels = vec![(value, "value".to_string())];
        let only = |c: &egg::EClass<Term, Fact>| (c.id, c.iter().next().expect("a class has a node").clone());
        let selection: Selection = egraph.classes().map(only).collect();
        let entered = SectionEGraph { kind: self.kind, egraph, root, labels };
        *graph.section_mut(self.kind) =
            section::from_selection(&entered, &selection).map_err(|e| e.to_string())?;
        match self.kind {
            SectionKind::Head => {
                let mut s = Writer { graph: &mut graph, kind: BLOCK };
                let x = s.op(Op::Input, &[]);
                s.returns(x);
            }
            _ => families::add_head(&mut graph, DType::F32, false),
        }
        verify(graph).map_err(|e| e.to_string())
    }

    /// The side's values and the logits, over two steps.
    pub fn values(&self, precision: Precision) -> Vec<f64> {
        let graph = self.model().expect("the side is well typed");
        let mut interpreter = Interpreter::new(&graph, &Random, precision).with_adapter(1);
        let mut all = Vec::new();
        for tokens in [&[3, 1, 4, 1][..], &[5, 9][..]] {
            let mut seen = Vec::new();
            let mut observe = |name: &str, value: &qwenc_ir::interp::Value| {
                if name.ends_with("value") {
                    seen.extend_from_slice(&value.data);
                }
            };
            let logits = interpreter.step(tokens, &mut observe).expect("every weight is there");
            all.extend(seen);
            all.extend(logits.data);
        }
        all
    }

    /// Whether the rule, applied to this side alone, makes `right` equal to it; or the law that it breaks.
    pub fn rewrites_to(&self, rule: &Rule, right: &Side) -> Result<bool, String> {
        let graph = declared();
        let mut egraph: EGraph = section::empty(&graph);
        let left = egraph.add_expr(&self.parse(&graph, &self.term));
        egraph.rebuild();
        let rewrite = rule.rewrite().expect("a rule of the table");
        let matches = rewrite.search(&egraph);
        rewrite.apply(&mut egraph, &matches);
        egraph.rebuild();
        for class in egraph.classes() {
            if let Fact::Broken(what) = &class.data {
                return Err(what.clone());
            }
        }
        let found = egraph.lookup_expr(&self.parse(&graph, &right.term));
        Ok(found.is_some_and(|id| egraph.find(id) == egraph.find(left)))
    }
}
