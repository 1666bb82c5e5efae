//! Dictionaries of compressed panels, made before packing: only then is it known which weights fit their format.
//!
//! In: a checked plan and a source of tensors. Out: the dictionary of each panel whose format has one, and the weights that do
//! not fit. Invariant: the result does not depend on the number of threads; it serves every plan of the same graph in which
//! those weights are plain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use qwenc_formats::{Dictionary, Misfit, WeightError};
use qwenc_ir::{Checked, Layers, WeightId, WeightSource};

use crate::panels::{each_panel, load_parts};
use crate::plan::Plan;
use crate::segment::{Home, Segment};

/// Dictionaries of compressed panels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionaries {
    /// By the first of a segment's weights and the layer; of panels in the order of the image.
    by_weight: BTreeMap<(WeightId, u32), Vec<Dictionary>>,
    misfits: BTreeSet<WeightId>,
}

/// Dictionaries of one segment in one layer.
type Made = Result<Result<Vec<Dictionary>, Misfit>, WeightError>;

impl Dictionaries {
    /// Reads every weight whose format has dictionaries, on `threads` threads.
    pub fn new(
        plan: &Checked<Plan>,
        source: &dyn WeightSource,
        threads: usize,
    ) -> Result<Dictionaries, WeightError> {
        let compressed = plan.segments.iter().filter(|s| s.format.has_dictionary());
        let mut jobs: Vec<(&Segment, u32)> = Vec::new();
        compressed.for_each(|s| jobs.extend(layers(plan, s).iter().map(|layer| (s, layer))));
        let mut all = Dictionaries::default();
        for ((s, layer), made) in jobs.iter().zip(made(plan, &jobs, source, threads)) {
            match made? {
                Ok(dictionaries) => drop(all.by_weight.insert((s.parts[0], *layer), dictionaries)),
                Err(Misfit { .. }) => all.misfits.extend(&s.parts),
            }
        }
        Ok(all)
    }

    /// Weights whose segments have a panel, in any layer, that does not fit the segment's format.
    pub fn misfits(&self) -> &BTreeSet<WeightId> {
        &self.misfits
    }

    /// Dictionaries of a segment's panels in a layer, in the order of the image; none where they were not made.
    pub(crate) fn of(&self, s: &Segment, layer: u32) -> &[Dictionary] {
        self.by_weight.get(&(s.parts[0], layer)).map_or(&[], Vec::as_slice)
    }
}

/// Layers that have the segment; one where all share it.
fn layers(plan: &Plan, s: &Segment) -> Layers {
    match s.home {
        Home::Model => Layers::first(1),
        Home::Layers(group) => plan.groups[group as usize].layers.clone(),
    }
}

/// Dictionaries of each job, in their order.
fn made(plan: &Plan, jobs: &[(&Segment, u32)], source: &dyn WeightSource, threads: usize) -> Vec<Made> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(&(s, layer)) = jobs.get(number) else { return };
        let made = of_segment(plan, s, layer, source);
        results.lock().unwrap_or_else(PoisonError::into_inner).insert(number, made);
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn of_segment(plan: &Plan, s: &Segment, layer: u32, source: &dyn WeightSource) -> Made {
    let parts = load_parts(plan, s, layer, source)?;
    let mut dictionaries = Vec::new();
    let made = each_panel(s, &parts, None, |_, panel| {
        dictionaries.push(s.format.dictionary(&panel)?);
        Ok(())
    });
    Ok(made.map(|()| dictionaries))
}
