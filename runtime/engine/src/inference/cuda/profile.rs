//! Profile of a step, kernel by kernel, and limits of the device: read bandwidth, latency of a launch and of a barrier.
//!
//! In: launches as they are made; probe kernels. Out: microseconds, GB/s, from CUDA events on the model's stream. Invariant:
//! nothing else runs meanwhile; the time of a kernel includes its launch latency, since launches do not overlap.

use std::rc::Rc;

use qwenc_abi::CudaStep;

use super::driver::Context;
use super::event::Event;
use super::graph::Graph;
use super::launch;
use super::modules::Probes;
use super::Cuda;
use crate::error::Result;

/// Launches of the empty kernel in the recorded graph.
const LAUNCHES: u32 = 256;
/// Runs of the reading probe; the fastest counts.
const READS: u32 = 5;

/// Total time of a kernel in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Name of the kernel.
    pub kernel: String,
    /// Number of launches.
    pub launches: u32,
    /// Microseconds of all launches together.
    pub us: f64,
}

/// Limits of the device, measured by probe kernels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probed {
    /// Read bandwidth in GB/s, of a kernel that only reads the weights.
    pub reading_gb_s: f64,
    /// Latency of an empty kernel in a graph, in microseconds.
    pub launch_us: f64,
    /// Latency of a barrier of all resident blocks, in microseconds.
    pub barrier_us: f64,
}

/// Profile under way: an event before the launches of a step, and one behind each.
pub(super) struct Profile {
    context: Rc<Context>,
    start: Event,
    /// Kernel and the event behind its launch.
    marks: Vec<(String, Event)>,
}

impl Profile {
    /// Records the first event.
    pub(super) fn begin(context: &Rc<Context>) -> Result<Profile> {
        Ok(Profile { context: Rc::clone(context), start: Event::timed(context)?, marks: Vec::new() })
    }

    /// Records an event behind the launch of `kernel`.
    pub(super) fn mark(&mut self, kernel: &str) -> Result<()> {
        self.marks.push((kernel.to_owned(), Event::timed(&self.context)?));
        Ok(())
    }

    /// Waits for all events; times by kernel, in the order of their first launch.
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
    /// Starts a profile: steps are launched kernel by kernel, with events, until [`Cuda::profiled`].
    pub fn profile(&mut self) -> Result<()> {
        self.drain()?;
        self.profile = Some(Profile::begin(&self.context)?);
        Ok(())
    }

    /// Ends the profile; times by kernel.
    pub fn profiled(&mut self) -> Result<Vec<KernelTime>> {
        self.profile.take().map_or(Ok(Vec::new()), Profile::end)
    }

    /// Limits of the device; `None` without probe kernels, or before the first step.
    pub fn probe(&mut self) -> Result<Option<Probed>> {
        self.drain()?;
        let (Some(probes), Some(step)) = (&self.kernels.probes, &self.last) else { return Ok(None) };
        // SAFETY: the step has run, so that its buffers are there; nothing is under way.
        unsafe { probe(&self.context, probes, step, self.model.weights_bytes) }.map(Some)
    }
}

/// Runs the probe kernels with the argument of a step that has run; `weights_bytes` is the size of its weights.
///
/// # Safety
/// The step must keep to the contract of [`CudaStep`], and nothing may be under way.
unsafe fn probe(
    context: &Rc<Context>,
    probes: &Probes,
    step: &CudaStep,
    weights_bytes: u64,
) -> Result<Probed> {
    let stream = context.stream();
    // Runs `work` between two events; microseconds.
    let time = |work: &dyn Fn() -> Result<()>| {
        let start = Event::timed(context)?;
        work()?;
        let end = Event::timed(context)?;
        context.finish()?;
        end.since(&start)
    };
    // SAFETY (all): by the caller's promise; probe kernels read the weights and write scratch alone.
    let launches = || {
        (0..LAUNCHES).try_for_each(|i| unsafe { launch::launch(&probes.launch, [1; 3], step, i > 0, stream) })
    };
    launches()?;
    let graph = unsafe { Graph::record(stream, launches)? };
    let run = || unsafe { graph.launch(stream) };
    run()?;
    let launch_us = time(&run)? / f64::from(LAUNCHES);
    let (reading, blocks) = &probes.reading;
    let read = || unsafe { launch::launch(reading, [*blocks, 1, 1], step, false, stream) };
    let fastest = (0..READS).try_fold(f64::INFINITY, |fastest, _| Ok(time(&read)?.min(fastest)))?;
    let (barriers, blocks) = &probes.barriers;
    let meet = || unsafe { launch::cooperative(barriers, *blocks, step, stream) };
    meet()?;
    let barrier_us = time(&meet)? / f64::from(probes.barrier_count.max(1));
    Ok(Probed { reading_gb_s: weights_bytes as f64 / fastest.max(1e-9) / 1e3, launch_us, barrier_us })
}
