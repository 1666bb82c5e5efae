//! Report of an optimisation, for `--explain`.
//!
//! In: what the stages and the extraction did. Out: text. Invariant: the same input prints the same
//! text; there is no time of day and no duration in it. Only told here: no choice depends on a report.

use std::fmt::{self, Display, Formatter};

use qwenc_costs::{Machine, Work};
use qwenc_ir::SectionKind;

use crate::analysis::{self, EGraph, Fact};
use crate::language::Term;
use crate::rules::Stage;
use crate::section::Selection;

/// The whole story. Costs are per token in decode, for the load of `cost.rs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The machine that costs are for.
    pub machine: Machine,
    /// Cost of the prologue, which is not rewritten.
    pub prologue: Work,
    /// The rewritten sections, in order.
    pub sections: Vec<SectionReport>,
    /// The source graph as text.
    pub before: String,
    /// The optimised graph as text.
    pub after: String,
}

/// One rewritten section.
#[derive(Clone, Debug, PartialEq)]
pub struct SectionReport {
    /// The section.
    pub kind: SectionKind,
    /// Its name for people: `head`, `block of layers 0-27`.
    pub title: String,
    /// Times that it runs per token.
    pub runs: u32,
    /// Its stages, in order.
    pub stages: Vec<StageReport>,
    /// Cost of the source.
    pub before: Work,
    /// Cost of what was chosen.
    pub chosen: Work,
    /// The next best, if there is another.
    pub runner_up: Option<RunnerUp>,
}

/// Result of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// Which.
    pub stage: Stage,
    /// Rules that changed something, in the order in which they first did.
    pub fired: Vec<RuleCount>,
    /// Rounds, the last of which found nothing new if it saturated.
    pub iterations: usize,
    /// E-nodes after it.
    pub nodes: usize,
    /// E-classes after it.
    pub classes: usize,
    /// `saturated`, or the limit that it met.
    pub stop: String,
}

/// Number of times that a rule fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCount {
    /// Its name.
    pub rule: String,
    /// E-classes that it changed.
    pub times: usize,
}

/// The cheapest choice that differs from the chosen one.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    /// Its cost.
    pub cost: Work,
    /// Difference from the choice.
    pub difference: Difference,
}

/// Nodes that only one of two choices has, as `op : type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only the chosen one.
    pub chosen: Vec<String>,
    /// Only the runner-up.
    pub runner_up: Vec<String>,
}

impl RunnerUp {
    pub(crate) fn new(egraph: &EGraph, chosen: &Selection, other: &Selection, cost: Work) -> RunnerUp {
        let only = |this: &Selection, that: &Selection| {
            let differs = this.iter().filter(|(class, term)| that.get(class) != Some(term));
            differs.map(|(&class, term)| describe(egraph, class, term)).collect()
        };
        let difference = Difference { chosen: only(chosen, other), runner_up: only(other, chosen) };
        RunnerUp { cost, difference }
    }
}

fn describe(egraph: &EGraph, class: egg::Id, term: &Term) -> String {
    match (term, &egraph[class].data) {
        (Term::Apply(kind, children), Fact::Value(ty)) => {
            let op = analysis::op(*kind, children, |id| &egraph[id].data);
            format!("{} : {ty}", op.map_or("?", |op| op.name()))
        }
        _ => term.to_string(),
    }
}

impl Report {
    fn total(&self, of: impl Fn(&SectionReport) -> Work) -> Work {
        self.sections.iter().fold(self.prologue, |sum, s| sum + of(s) * s.runs)
    }

    /// Cost of the source graph per token.
    pub fn before_per_token(&self) -> Work {
        self.total(|s| s.before)
    }

    /// Cost of the optimised graph per token.
    pub fn chosen_per_token(&self) -> Work {
        self.total(|s| s.chosen)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let m = &self.machine;
        writeln!(f, "machine {m}")?;
        writeln!(f, "cost per token, decode:")?;
        writeln!(f, "  before  {}", priced(&self.before_per_token(), m))?;
        writeln!(f, "  chosen  {}", priced(&self.chosen_per_token(), m))?;
        for section in &self.sections {
            writeln!(f)?;
            section.write(f, m)?;
        }
        writeln!(f, "\nbefore:\n{}\nafter:\n{}", self.before, self.after)
    }
}

impl SectionReport {
    fn write(&self, f: &mut Formatter<'_>, machine: &Machine) -> fmt::Result {
        writeln!(
            f,
            "{}, {}:",
            self.title,
            if self.runs == 1 { "once".to_string() } else { format!("{} times", self.runs) }
        )?;
        for stage in &self.stages {
            write!(
                f,
                "  {:<6} {} after {} iterations",
                stage.stage.to_string(),
                stage.stop,
                stage.iterations
            )?;
            writeln!(f, ", {} e-nodes in {} e-classes", stage.nodes, stage.classes)?;
            for rule in &stage.fired {
                writeln!(f, "    {:>3} x {}", rule.times, rule.rule)?;
            }
        }
        writeln!(f, "  before    {}", priced(&self.before, machine))?;
        writeln!(f, "  chosen    {}", priced(&self.chosen, machine))?;
        match &self.runner_up {
            None => writeln!(f, "  runner-up none: nothing else is equal"),
            Some(other) => {
                writeln!(f, "  runner-up {}", priced(&other.cost, machine))?;
                for node in &other.difference.chosen {
                    writeln!(f, "    chosen has    {node}")?;
                }
                for node in &other.difference.runner_up {
                    writeln!(f, "    runner-up has {node}")?;
                }
                Ok(())
            }
        }
    }
}

fn priced(work: &Work, machine: &Machine) -> String {
    format!("{:.3} us: {work}", machine.us(work))
}
