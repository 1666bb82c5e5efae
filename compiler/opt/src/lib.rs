//! A graph to a cheaper equal graph, by equality saturation.
//!
//! In: a checked graph as a model writes it down, the target and what its machine is good at, and limits. Out: a
//! checked graph with the same meaning, and a report that says how it came about. Invariant: the block of
//! each layer group and the head are rewritten, never the unrolled model; the same input gives the same output,
//! since neither a clock nor an address takes part in any choice.

mod analysis;
mod cost;
mod dot;
mod error;
mod extract;
mod language;
mod random;
mod report;
mod rules;
mod saturate;
mod section;
#[cfg(test)]
mod tests;

use qwenc_costs::Machine;
use qwenc_ir::{verify, Checked, Graph, Section, SectionKind};
use qwenc_target::Target;

use cost::Prices;
pub use error::OptError;
use extract::Space;
pub use report::{Difference, Report, RuleCount, RunnerUp, SectionReport, StageReport};
pub use rules::{rules, Condition, Exactness, Guard, Rule, Stage};
pub use saturate::Limits;
use saturate::Saturated;

/// The optimised graph and how it came about.
#[derive(Clone, Debug)]
pub struct Optimised {
    /// Equal to the source graph, and cheaper.
    pub graph: Checked<Graph>,
    /// For `--explain`.
    pub report: Report,
}

/// The sections that are rewritten: blocks and head; the prologue passes through.
fn rewritten_sections(graph: &Graph) -> impl Iterator<Item = SectionKind> {
    graph.sections().into_iter().filter(|&kind| kind != SectionKind::Prologue)
}

/// The cheapest graph that the rules can make of this one and the target can run, on this machine.
pub fn optimise(
    graph: &Checked<Graph>,
    target: &dyn Target,
    machine: &Machine,
    limits: &Limits,
) -> Result<Optimised, OptError> {
    let mut out = Graph::clone(graph);
    let mut sections = Vec::new();
    for kind in rewritten_sections(graph) {
        let (section, report) = rewritten(graph, kind, (target, machine), limits)?;
        *out.section_mut(kind) = section;
        sections.push(report);
    }
    let before = graph.to_string();
    let graph = verify(out).map_err(|e| OptError::Verify(Box::new(e)))?;
    let prologue = Prices::new(&graph, SectionKind::Prologue, machine.processor).section(&graph.prologue);
    let after = graph.to_string();
    let report = Report { machine: machine.clone(), prologue, sections, before, after };
    Ok(Optimised { graph, report })
}

fn rewritten(
    graph: &Graph,
    kind: SectionKind,
    (target, machine): (&dyn Target, &Machine),
    limits: &Limits,
) -> Result<(Section, SectionReport), OptError> {
    let Saturated { section: equal, stages } = saturate::saturate(graph, kind, limits)?;
    let prices = Prices::new(graph, kind, machine.processor);
    let space = Space::new(&equal.egraph, target, (&prices, machine));
    let (chosen, other) = space.best(equal.root).ok_or(OptError::NoExtraction { section: kind })?;
    let section = section::from_selection(&equal, &chosen)?;
    let runner_up = match other {
        Some(other) => {
            let cost = prices.section(&section::from_selection(&equal, &other)?);
            Some(RunnerUp::new(&equal.egraph, &chosen, &other, cost))
        }
        None => None,
    };
    let before = prices.section(graph.section(kind));
    let chosen = prices.section(&section);
    let title = match kind {
        SectionKind::Prologue | SectionKind::Head => format!("{kind:?}").to_lowercase(),
        SectionKind::Block(group) => format!("block of {}", graph.groups[group as usize].title()),
    };
    let runs = graph.runs(kind);
    Ok((section, SectionReport { kind, title, runs, stages, before, chosen, runner_up }))
}

/// Any graph that the rules make of this one, for tests of the rules: every extraction must agree
/// with the source. The same seed gives the same graph.
pub fn random_extraction(graph: &Checked<Graph>, seed: u64) -> Result<Checked<Graph>, OptError> {
    let mut out = Graph::clone(graph);
    for (kind, salt) in rewritten_sections(graph).zip(0..) {
        let equal = saturate::saturate(graph, kind, &Limits::default())?.section;
        let selection = random::any_well_founded(&equal.egraph, equal.root, seed ^ (salt << 32))
            .ok_or(OptError::NoExtraction { section: kind })?;
        *out.section_mut(kind) = section::from_selection(&equal, &selection)?;
    }
    verify(out).map_err(|e| OptError::Verify(Box::new(e)))
}

/// The saturated e-graphs of blocks and head as one digraph for Graphviz.
pub fn egraph_dot(graph: &Checked<Graph>, limits: &Limits) -> Result<String, OptError> {
    let saturated = |kind| Ok((kind, saturate::saturate(graph, kind, limits)?.section.egraph));
    let sections = rewritten_sections(graph).map(saturated).collect::<Result<Vec<_>, OptError>>()?;
    Ok(dot::digraph(&sections))
}
