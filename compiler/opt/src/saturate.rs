//! One section to a saturated e-graph, stage by stage: the one place that runs egg.
//!
//! In: a section, the rules, limits. Out: the e-graph, with what each stage did. Invariant: stages
//! run in the order of [`Stage`], each to saturation or to a limit that is reported; a stage that
//! stops early leaves an e-graph that is merely smaller, never wrong.

use std::time::Duration;

use egg::{Runner, SimpleScheduler, StopReason};
use qwenc_ir::{Graph, SectionKind};

use crate::analysis::{Fact, TypeAnalysis};
use crate::error::OptError;
use crate::language::Term;
use crate::report::{RuleCount, StageReport};
use crate::rules::{rules, Rule, Stage};
use crate::section::{self, SectionEGraph};

/// Limits of each stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// E-nodes after which a stage stops.
    pub nodes: usize,
    /// Iterations after which a stage stops.
    pub iterations: usize,
}

impl Default for Limits {
    /// Far above what a block needs: about 150 e-nodes and 5 iterations a stage.
    fn default() -> Limits {
        Limits { nodes: 10_000, iterations: 32 }
    }
}

/// A section with everything that is equal to its parts.
pub(crate) struct Saturated {
    pub section: SectionEGraph,
    pub stages: Vec<StageReport>,
}

/// Limits of time would make the choice depend on the clock.
const NO_TIME_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// Saturates a section with all rules.
pub(crate) fn saturate(graph: &Graph, kind: SectionKind, limits: &Limits) -> Result<Saturated, OptError> {
    saturate_with(graph, kind, limits, &rules())
}

/// Saturates a section with these rules, in the order of their stages.
pub(crate) fn saturate_with(
    graph: &Graph,
    kind: SectionKind,
    limits: &Limits,
    rules: &[Rule],
) -> Result<Saturated, OptError> {
    let SectionEGraph { mut egraph, root, labels, .. } = section::enter(graph, kind)?;
    let mut stages = Vec::new();
    for stage in Stage::ALL {
        let rewrites = rules
            .iter()
            .filter(|rule| rule.stage == stage)
            .map(Rule::rewrite)
            .collect::<Result<Vec<_>, _>>()?;
        let runner = Runner::<_, _, ()>::new(egraph.analysis.clone())
            .with_egraph(egraph)
            .with_scheduler(SimpleScheduler)
            .with_time_limit(NO_TIME_LIMIT)
            .with_node_limit(limits.nodes)
            .with_iter_limit(limits.iterations)
            .run(&rewrites);
        stages.push(report(stage, &runner));
        egraph = runner.egraph;
    }
    for class in egraph.classes() {
        if let Fact::Broken(what) = &class.data {
            return Err(OptError::Unsound { section: kind, what: what.clone() });
        }
    }
    let root = egraph.find(root);
    Ok(Saturated { section: SectionEGraph { kind, egraph, root, labels }, stages })
}

fn report(stage: Stage, runner: &Runner<Term, TypeAnalysis>) -> StageReport {
    let mut fired: Vec<RuleCount> = Vec::new();
    for (name, &times) in runner.iterations.iter().flat_map(|i| &i.applied) {
        match fired.iter_mut().find(|r| r.rule == name.as_str()) {
            Some(rule) => rule.times += times,
            None => fired.push(RuleCount { rule: name.to_string(), times }),
        }
    }
    let stop = match &runner.stop_reason {
        Some(StopReason::Saturated) => "saturated".to_string(),
        Some(StopReason::IterationLimit(n)) => format!("limit of {n} iterations"),
        Some(StopReason::NodeLimit(n)) => format!("limit of {n} e-nodes"),
        Some(other) => format!("{other:?}"),
        None => "not run".to_string(),
    };
    StageReport {
        stage,
        fired,
        iterations: runner.iterations.len(),
        nodes: runner.egraph.total_number_of_nodes(),
        classes: runner.egraph.number_of_classes(),
        stop,
    }
}
