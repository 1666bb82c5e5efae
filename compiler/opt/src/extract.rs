//! The cheapest expression in an e-graph, with shared parts counted once.
//!
//! In: an e-graph, a target, prices. Out: one e-node for each class that the result needs. Invariant:
//! classes and e-nodes are visited in the order of their ids, and of two equal costs the first found
//! stays, so the choice is deterministic; what the target cannot run is chosen only where it can run nothing.
//!
//! Greedy over DAGs: each class keeps the set of classes that its cheapest expression needs, and the
//! cost of an e-node is its own plus that of the union of its operands' sets. What it misses is sharing
//! that pays only once several users choose it together; others measure that at about a percent of
//! what an exact solver finds, at a small part of its time.

use std::collections::{BTreeMap, BTreeSet};

use egg::Id;
use qwenc_costs::Machine;
use qwenc_ir::Type;
use qwenc_target::Target;

use crate::analysis::{self, EGraph, Fact};
use crate::cost::{is_of_weights, Prices};
use crate::language::Term;
use crate::section::Selection;

/// Time first; then e-nodes, so that of two free expressions of weights the smaller is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    picoseconds: u64,
    nodes: u64,
}

impl Cost {
    fn add(self, other: Cost) -> Cost {
        Cost {
            picoseconds: self.picoseconds.saturating_add(other.picoseconds),
            nodes: self.nodes + other.nodes,
        }
    }
}

/// An e-node that could be chosen.
struct Candidate {
    term: Term,
    operands: Vec<Id>,
    cost: Cost,
    /// Whether the target has a kernel for it, or it needs none.
    runs: bool,
}

/// Choices for each e-class.
pub(crate) struct Space {
    classes: BTreeMap<Id, Vec<Candidate>>,
}

/// The cheapest expression of a class that is known so far.
struct Pick {
    candidate: usize,
    total: Cost,
    /// The classes that it needs, itself among them, each with the cost of its own e-node.
    needs: BTreeMap<Id, Cost>,
}

/// An e-node that must not be chosen.
type Banned<'a> = Option<(Id, &'a Term)>;

impl Space {
    /// Every value class, with the cost of its e-nodes at these prices on this machine, and whether the target runs them.
    pub fn new(egraph: &EGraph, target: &dyn Target, (prices, machine): (&Prices, &Machine)) -> Space {
        let mut classes = BTreeMap::new();
        for class in egraph.classes() {
            let candidates = class
                .iter()
                .filter_map(|term| candidate(egraph, (class.id, term), target, (prices, machine)));
            classes.insert(class.id, candidates.collect());
        }
        Space { classes }
    }

    /// The cheapest expression of the root that the target can run, or of all where it can run none; and the cheapest
    /// that lacks some e-node of it.
    pub fn best(mut self, root: Id) -> Option<(Selection, Option<Selection>)> {
        let all = self.cheapest(root)?;
        if self.runs(&all.0) {
            return Some(all);
        }
        self.classes.values_mut().for_each(|candidates| candidates.retain(|c| c.runs));
        Some(self.cheapest(root).unwrap_or(all))
    }

    fn runs(&self, selection: &Selection) -> bool {
        let runs = |(class, term): (&Id, &Term)| {
            let candidate = self.classes.get(class).and_then(|all| all.iter().find(|c| c.term == *term));
            candidate.is_some_and(|c| c.runs)
        };
        selection.iter().all(runs)
    }

    /// The cheapest expression of the root, and the cheapest that lacks some e-node of it.
    fn cheapest(&self, root: Id) -> Option<(Selection, Option<Selection>)> {
        let mut chosen = self.greedy(root, None)?;
        loop {
            match self.runner_up(root, &chosen) {
                // Costs fall at each turn, so there is a last one.
                Some(better) if self.cost(&better) < self.cost(&chosen) => chosen = better,
                other => return Some((chosen, other)),
            }
        }
    }

    fn runner_up(&self, root: Id, chosen: &Selection) -> Option<Selection> {
        let mut best: Option<(Cost, Selection)> = None;
        for (&class, term) in chosen {
            let Some(other) = self.greedy(root, Some((class, term))) else { continue };
            let cost = self.cost(&other);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, other));
            }
        }
        best.map(|(_, selection)| selection)
    }

    fn greedy(&self, root: Id, banned: Banned) -> Option<Selection> {
        let picks = self.picks(banned);
        let mut selection = Selection::new();
        let mut open = BTreeSet::from([root]);
        while let Some(class) = open.pop_first() {
            let candidate = &self.classes.get(&class)?[picks.get(&class)?.candidate];
            selection.insert(class, candidate.term.clone());
            open.extend(candidate.operands.iter().filter(|id| !selection.contains_key(id)));
        }
        Some(selection)
    }

    /// Costs only fall, and are whole numbers: the loop ends.
    fn picks(&self, banned: Banned) -> BTreeMap<Id, Pick> {
        let mut picks: BTreeMap<Id, Pick> = BTreeMap::new();
        let mut changed = true;
        while changed {
            changed = false;
            for (&class, candidates) in &self.classes {
                for (i, candidate) in candidates.iter().enumerate() {
                    if banned == Some((class, &candidate.term)) {
                        continue;
                    }
                    let Some(pick) = pick(class, i, candidate, &picks) else { continue };
                    if picks.get(&class).is_none_or(|known| pick.total < known.total) {
                        picks.insert(class, pick);
                        changed = true;
                    }
                }
            }
        }
        picks
    }

    fn cost(&self, selection: &Selection) -> Cost {
        let of = |(class, term): (&Id, &Term)| {
            let candidates = self.classes.get(class)?;
            candidates.iter().find(|c| c.term == *term).map(|c| c.cost)
        };
        selection.iter().filter_map(of).fold(Cost::default(), Cost::add)
    }
}

fn candidate(
    egraph: &EGraph,
    (class, term): (Id, &Term),
    target: &dyn Target,
    (prices, machine): (&Prices, &Machine),
) -> Option<Candidate> {
    let (Term::Apply(kind, children), Fact::Value(result)) = (term, &egraph[class].data) else {
        return None;
    };
    let op = analysis::op(*kind, children, |id| &egraph[id].data)?;
    let operands: Vec<Id> = term.operands().iter().map(|&id| egraph.find(id)).collect();
    let types: Vec<&Type> = operands.iter().map(|&id| egraph[id].data.ty()).collect::<Option<_>>()?;
    let runs = is_of_weights(op) || target.has_kernel(op);
    let cost = Cost { picoseconds: machine.picoseconds(&prices.op(op, &types, result)), nodes: 1 };
    Some(Candidate { term: term.clone(), operands, cost, runs })
}

/// The candidate with the best known expressions of its operands; none if one of them is not known
/// yet or needs the class itself.
fn pick(class: Id, index: usize, candidate: &Candidate, picks: &BTreeMap<Id, Pick>) -> Option<Pick> {
    let mut needs = BTreeMap::from([(class, candidate.cost)]);
    for operand in &candidate.operands {
        let known = picks.get(operand)?;
        if known.needs.contains_key(&class) {
            return None;
        }
        needs.extend(known.needs.iter().map(|(&id, &cost)| (id, cost)));
    }
    let total = needs.values().copied().fold(Cost::default(), Cost::add);
    Some(Pick { candidate: index, total, needs })
}
