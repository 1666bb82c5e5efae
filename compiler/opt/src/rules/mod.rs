//! The rules: what may stand for what.
//!
//! In: the tables of this folder, one file per topic. Out: egg rewrites. Invariant: a rule has one
//! root, a direction, a stage, a statement of how exact it is and named conditions; `README.md` here
//! says by which law it holds and which bug taught its conditions.

mod adapters;
mod attention;
mod guards;
mod mlp;
mod norm;
mod residual;
mod weights;

use std::fmt;

use egg::{ConditionalApplier, Id, Pattern, Rewrite, Subst, Var};

use crate::analysis::{EGraph, TypeAnalysis};
use crate::error::OptError;
use crate::language::Term;
pub use guards::{Condition, Guard};

/// Equality of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Bit for bit, in the interpreter's f32.
    Exact,
    /// Over the reals; in f32 sums or products round in another order.
    Reassociating,
}

/// When a rule runs: each stage builds on the finished one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Stored weights, unrepeated kv heads and streaming attention in place of their parts.
    Lower,
    /// Linears that share their input become one.
    Widen,
    /// Gains move into weights.
    Fold,
    /// Kernels take their neighbours in as prologue and epilogue.
    Fuse,
}

impl Stage {
    /// In the order in which they run.
    pub const ALL: [Stage; 4] = [Stage::Lower, Stage::Widen, Stage::Fold, Stage::Fuse];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Lower => "lower",
            Stage::Widen => "widen",
            Stage::Fold => "fold",
            Stage::Fuse => "fuse",
        })
    }
}

/// One rule: where `left` stands and the conditions hold, `right` may stand too.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Kebab-case, unique.
    pub name: &'static str,
    /// When it runs.
    pub stage: Stage,
    /// Equality of the sides.
    pub exactness: Exactness,
    /// The pattern to find.
    pub left: &'static str,
    /// Pattern that is equal to it.
    pub right: &'static str,
    /// All of which must hold.
    pub when: &'static [Condition],
}

/// Every rule, by stage and name.
pub fn rules() -> Vec<Rule> {
    let topics =
        [adapters::RULES, weights::RULES, attention::RULES, mlp::RULES, norm::RULES, residual::RULES];
    let mut all: Vec<Rule> = topics.concat();
    all.sort_by_key(|rule| (rule.stage, rule.name));
    all
}

/// A line of a table.
const fn rule(
    name: &'static str,
    stage: Stage,
    exactness: Exactness,
    left: &'static str,
    right: &'static str,
    when: &'static [Condition],
) -> Rule {
    Rule { name, stage, exactness, left, right, when }
}

impl Rule {
    /// For egg.
    pub(crate) fn rewrite(&self) -> Result<Rewrite<Term, TypeAnalysis>, OptError> {
        let fault = |side, what: String| OptError::Rule { rule: self.name, side, what };
        let left: Pattern<Term> = self.left.parse().map_err(|e| fault("left", format!("{e}")))?;
        let right: Pattern<Term> = self.right.parse().map_err(|e| fault("right", format!("{e}")))?;
        let conditions = self.when.iter().map(Bound::new).collect::<Result<Vec<_>, _>>();
        let conditions = conditions.map_err(|what| fault("condition", what))?;
        let condition = move |egraph: &mut EGraph, _: Id, subst: &Subst| {
            conditions.iter().all(|condition| condition.holds(egraph, subst))
        };
        let applier = ConditionalApplier { condition, applier: right };
        Rewrite::new(self.name, left, applier).map_err(|what| fault("right", what))
    }
}

/// A condition whose variables were parsed.
struct Bound {
    guard: Guard,
    vars: Vec<Var>,
}

impl Bound {
    fn new(condition: &Condition) -> Result<Bound, String> {
        let vars = condition.vars.split(' ').map(|v| v.parse().map_err(|e| format!("{v}: {e:?}")));
        Ok(Bound { guard: condition.guard, vars: vars.collect::<Result<_, _>>()? })
    }

    /// A variable that the left side does not bind fails the condition.
    fn holds(&self, egraph: &EGraph, subst: &Subst) -> bool {
        let facts = self.vars.iter().map(|v| subst.get(*v).map(|&id| &egraph[id].data));
        facts.collect::<Option<Vec<_>>>().is_some_and(|f| self.guard.holds(&f, &egraph.analysis.dims))
    }
}
