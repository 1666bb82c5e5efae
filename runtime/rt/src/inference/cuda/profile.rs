//! Times of a step's kernels, and of what a device does by itself, by events on the model's stream.
//!
//! In: launches as they are made; probes. Out: microseconds, GB/s. Invariant: nothing else is under way while something is
//! measured; a kernel's time includes its launch, since each waits for the one before it.

use std::rc::Rc;

use qwenc_abi::CudaStep;

use super::driver::Context;
use super::event::Event;
use super::graph::Graph;
use super::launch;
use super::modules::Probes;
use super::Cuda;
use crate::error::Result;

/// Launches of the empty kernel that are recorded.
const LAUNCHES: u32 = 256;
/// Times that weights are read; the fastest counts.
const READS: u32 = 5;

/// All launches of one kernel in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Its name.
    pub kernel: String,
    /// How often it was launched.
    pub launches: u32,
    /// Microseconds of all its launches.
    pub us: f64,
}

/// What the device does by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probed {
    /// GB/s of a kernel that reads the weights and does nothing else.
    pub reading_gb_s: f64,
    /// Microseconds of an empty kernel in a recorded step.
    pub launch_us: f64,
    /// Microseconds of a barrier of as many blocks as the device holds.
    pub barrier_us: f64,
}

/// Events between the launches of a step.
pub(super) struct Profile {
    context: Rc<Context>,
    start: Event,
    /// After each launch.
    marks: Vec<(String, Event)>,
}

impl Profile {
    /// Begins now.
    pub(super) fn begin(context: &Rc<Context>) -> Result<Profile> {
        Ok(Profile { context: Rc::clone(context), start: Event::timed(context)?, marks: Vec::new() })
    }

    /// Notes the end of a launch.
    pub(super) fn mark(&mut self, kernel: &str) -> Result<()> {
        self.marks.push((kernel.to_owned(), Event::timed(&self.context)?));
        Ok(())
    }

    /// Times by kernel, in the order of their first launch.
    pub(super) fn end(self) -> Result<Vec<KernelTime>> {
        self.context.finish()?;
        let mut all: Vec<KernelTime> = Vec::new();
        let mut before = &self.start;
        for (kernel, after) in &self.marks {
            let us = after.since(before)?;
            before = after;
            match all.iter_mut().find(|k| k.kernel == *kernel) {
                Some(known) => {
                    known.launches += 1;
                    known.us += us;
                }
                None => all.push(KernelTime { kernel: kernel.clone(), launches: 1, us }),
            }
        }
        Ok(all)
    }
}

impl Cuda<'_> {
    /// Notes the times of the kernels of the steps from now on, which are launched one by one.
    pub(crate) fn profile(&mut self) -> Result<()> {
        self.drain()?;
        self.profile = Some(Profile::begin(&self.context)?);
        Ok(())
    }

    /// The times since [`Cuda::profile`]; none are noted any more.
    pub(crate) fn profiled(&mut self) -> Result<Vec<KernelTime>> {
        self.profile.take().map_or(Ok(Vec::new()), Profile::end)
    }

    /// Measures the device by itself, where the executable has kernels for that and a step has run.
    pub(crate) fn probe(&mut self) -> Result<Option<Probed>> {
        self.drain()?;
        let (Some(probes), Some(step)) = (&self.kernels.probes, &self.last) else { return Ok(None) };
        // SAFETY: the buffers of a step that has run, and nothing is under way.
        unsafe { probe(&self.context, probes, step, self.model.weights_bytes) }.map(Some)
    }
}

/// Runs the probes; `step` is one that has run, `weights_bytes` the length of its weights.
///
/// # Safety
/// As for [`launch::step`]; nothing is under way.
unsafe fn probe(
    context: &Rc<Context>,
    probes: &Probes,
    step: &CudaStep,
    weights_bytes: u64,
) -> Result<Probed> {
    let stream = context.stream();
    // Microseconds of `work`.
    let time = |work: &dyn Fn() -> Result<()>| {
        let start = Event::timed(context)?;
        work()?;
        let end = Event::timed(context)?;
        context.finish()?;
        end.since(&start)
    };
    // SAFETY (all): the caller's promise.
    let launches =
        || (0..LAUNCHES).try_for_each(|i| unsafe { launch::wide(&probes.launch, 1, step, i > 0, stream) });
    launches()?;
    let graph = unsafe { Graph::record(stream, launches)? };
    let run = || unsafe { graph.launch(stream) };
    run()?;
    let launch_us = time(&run)? / f64::from(LAUNCHES);
    let (reading, blocks) = &probes.reading;
    let read = || unsafe { launch::wide(reading, *blocks, step, false, stream) };
    let fastest = (0..READS).try_fold(f64::INFINITY, |fastest, _| Ok(time(&read)?.min(fastest)))?;
    let (barriers, blocks) = &probes.barriers;
    let meet = || unsafe { launch::together(barriers, *blocks, step, stream) };
    meet()?;
    let barrier_us = time(&meet)? / f64::from(probes.barrier_count.max(1));
    Ok(Probed { reading_gb_s: weights_bytes as f64 / fastest.max(1e-9) / 1e3, launch_us, barrier_us })
}
