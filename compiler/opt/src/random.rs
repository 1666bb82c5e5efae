//! Any expression in an e-graph, for tests of the rules: whatever is drawn must mean what the source does.
//!
//! In: an e-graph and a seed. Out: one e-node for each class that the result needs. Invariant: a
//! class is finished only after all operands of its chosen e-node, so the choice has no cycle. No
//! compilation comes through here; that choice is `extract.rs`.

use egg::Id;

use crate::analysis::EGraph;
use crate::language::Term;
use crate::section::Selection;

/// A choice in which every e-node that can be part of a finite expression can come up.
pub(crate) fn any_well_founded(egraph: &EGraph, root: Id, seed: u64) -> Option<Selection> {
    let mut chooser = Chooser { egraph, state: seed, open: Vec::new(), chosen: Selection::new() };
    chooser.choose(root)?;
    let mut reached = Selection::new();
    let mut open = vec![egraph.find(root)];
    while let Some(class) = open.pop() {
        let term = chooser.chosen.get(&class)?.clone();
        open.extend(term.operands().iter().map(|&id| egraph.find(id)));
        reached.insert(class, term);
    }
    Some(reached)
}

struct Chooser<'a> {
    egraph: &'a EGraph,
    state: u64,
    /// Classes whose choice waits for their operands'.
    open: Vec<Id>,
    chosen: Selection,
}

impl Chooser<'_> {
    fn choose(&mut self, class: Id) -> Option<()> {
        let class = self.egraph.find(class);
        if self.chosen.contains_key(&class) {
            return Some(());
        }
        if self.open.contains(&class) {
            return None;
        }
        let mut terms: Vec<Term> = self.egraph[class].iter().cloned().collect();
        for i in (1..terms.len()).rev() {
            let j = self.next() % (i as u64 + 1);
            terms.swap(i, j as usize);
        }
        self.open.push(class);
        let found = terms.into_iter().find(|t| t.operands().iter().all(|&id| self.choose(id).is_some()));
        self.open.pop();
        self.chosen.insert(class, found?);
        Some(())
    }

    /// SplitMix64 (Steele, Lea & Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
