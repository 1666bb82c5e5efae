//! Steps that come again, recorded: one launch instead of a hundred.
//!
//! In: what a step's launches depend on, and the launches. Out: the same on the stream. Invariant: a recorded step
//! is launched only where every number and address in it is still right: those are the key, or all records are
//! dropped when they change. A step is recorded when it comes for the second time; most prompts' steps never do.

use std::collections::HashMap;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUstream};
use qwenc_abi::CudaStep;

use super::driver::refused;
use crate::error::Result;

/// Steps to remember; then all are forgotten, so that guesses of many lengths do not fill memory.
const MOST: usize = 64;

/// Every step so far, by its argument: with its record from the second time on.
#[derive(Default)]
pub(super) struct Graphs {
    seen: HashMap<Key, Option<Graph>>,
}

/// Part of a step's argument that changes from one step to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Address of the logits, which differs between the two sets of results.
    logits: u64,
    kv_capacity: u64,
    n_rows: u32,
    n_outputs: u32,
    kv_type: u32,
    advance: u32,
}

impl Graphs {
    /// Forgets all records: an address that they hold has changed.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    /// Launches the step, for which `launches` puts its kernels on the stream.
    ///
    /// # Safety
    /// The step must keep to the contract of [`CudaStep`] until it is done, and `launches` must launch it and
    /// nothing else.
    pub(super) unsafe fn run(
        &mut self,
        step: &CudaStep,
        stream: CUstream,
        launches: impl Fn() -> Result<()>,
    ) -> Result<()> {
        let key = Key {
            logits: step.logits,
            kv_capacity: step.kv_capacity,
            n_rows: step.n_rows,
            n_outputs: step.n_outputs,
            kv_type: step.kv_type,
            advance: step.advance,
        };
        let Some(seen) = self.seen.get_mut(&key) else {
            if self.seen.len() == MOST {
                self.seen.clear();
            }
            self.seen.insert(key, None);
            return launches();
        };
        let graph = match seen {
            Some(graph) => graph,
            // SAFETY: the stream is the context's.
            None => seen.insert(unsafe { Graph::record(stream, launches)? }),
        };
        // SAFETY: recorded for a step with this key; the step's contract is the caller's promise.
        unsafe { graph.launch(stream) }
    }
}

/// A recorded step.
pub(super) struct Graph {
    exec: sys::CUgraphExec,
}

impl Graph {
    /// Records what `launches` puts on the stream; nothing of it runs.
    ///
    /// # Safety
    /// The stream must be one that this thread alone uses.
    pub(super) unsafe fn record(stream: CUstream, launches: impl Fn() -> Result<()>) -> Result<Graph> {
        let action = "record a step";
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: by the caller's promise.
        unsafe { result::stream::begin_capture(stream, mode) }.map_err(refused(action))?;
        let launched = launches();
        // Also after an error: the stream must not stay in recording.
        // SAFETY: recording was begun above.
        let graph = unsafe { result::stream::end_capture(stream) };
        launched?;
        let graph = graph.map_err(refused(action))?;
        // SAFETY: the graph was just made; the executable form does not need it.
        let exec = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: as above.
        let _ = unsafe { result::graph::destroy(graph) };
        Ok(Graph { exec: exec.map_err(refused(action))? })
    }

    /// Launches the graph on the stream.
    ///
    /// # Safety
    /// Every recorded launch must keep to the contract of [`CudaStep`] until the graph has run.
    pub(super) unsafe fn launch(&self, stream: CUstream) -> Result<()> {
        // SAFETY: recorded on this context; what it reads and writes is the caller's promise.
        unsafe { result::graph::launch(self.exec, stream) }.map_err(refused("launch a recorded step"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // Work under way ends first. After a failed kernel it fails too; that error was reported.
        // SAFETY: made by `record`, and not launched any more.
        let _ = unsafe { result::graph::exec_destroy(self.exec) };
    }
}
