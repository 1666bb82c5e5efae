//! The model on a GPU: `bundle` is its code, `driver` finds the device, `modules` load the code, `launch` and
//! `graph` run steps, `weights` and `memory` are what stands on the device, `uploads` and `results` are the inputs and outputs
//! of a step, `memory_requirement` is the memory for all of it, `bandwidth` and `profile` are measurements.
//!
//! In: steps. Out: logits, or picks. Invariant: one thread and one stream, so everything happens in order; a
//! result is read only after the event behind its step has been waited for, and what the device reads is written only
//! when nothing is under way.
//!
//! Greedy decode runs one step ahead. The kernels of a step write its picks to its rows, so that the device can run the next
//! step before the host knows the tokens. From the second step on that continues the one before, the next step is launched
//! before the picks of this one are read; it has its own set of results, so that those of this one stay readable. If the
//! caller then asks for another step, the one ahead is waited for and dropped: it has written one position behind the end of
//! each KV cache, which is overwritten before it is read.

pub mod bandwidth;
pub mod bundle;
pub mod driver;
mod event;
mod graph;
mod launch;
pub mod mebibytes;
pub mod memory;
pub mod memory_requirement;
pub mod modules;
pub mod profile;
mod results;
#[cfg(test)]
mod sample;
mod uploads;
pub mod weights;

use std::rc::Rc;

use qwenc_abi::{CudaModel, CudaStep, Row};

use crate::error::{Error, Result};
use crate::inference::cuda::bundle::Bundle;
use crate::inference::cuda::driver::Context;
use crate::inference::cuda::graph::Graphs;
use crate::inference::cuda::memory::{Buffer, Pinned};
use crate::inference::cuda::memory_requirement::{allowed_words, result_sets, Capacity, MemoryRequirement};
use crate::inference::cuda::modules::Kernels;
use crate::inference::cuda::profile::Profile;
use crate::inference::cuda::results::ResultSet;
use crate::inference::cuda::uploads::Uploads;
use crate::inference::cuda::weights::Weights;
use crate::inference::step::{Output, Results, Step};

/// Launch method of repeated steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// Recorded once, then launched as a whole.
    Graph,
    /// Kernel by kernel.
    Launches,
    /// Steps of one row as one kernel whose blocks wait for each other; these too are recorded.
    Persistent,
}

/// The picks of the last step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Picks {
    /// No picks: the step was for logits or hidden states.
    None,
    /// Picks of a step that may still run.
    Coming,
    /// Picks of a step that has been waited for: readable.
    Here,
}

/// A model on a device. Fields are dropped in this order: records before kernels, all before the context.
pub struct Cuda<'m> {
    model: &'m CudaModel,
    room: Capacity,
    need: MemoryRequirement,
    decode: Decode,
    graphs: Graphs,
    kernels: Kernels,
    weights: Buffer,
    arena: Buffer,
    counters: Buffer,
    allowed: Option<Buffer>,
    uploads: Uploads,
    results: [ResultSet; 2],
    /// Index in `results` of the set of the last step.
    current: usize,
    /// Argument of the step ahead, if one is under way.
    ahead: Option<CudaStep>,
    /// Argument of the last step that was launched.
    last: Option<CudaStep>,
    /// Profile under way.
    profile: Option<Profile>,
    host_logits: Pinned,
    host_state: Pinned,
    host_gain: Pinned,
    picks: Picks,
    context: Rc<Context>,
}

impl<'m> Cuda<'m> {
    /// Takes device `number` into use and puts the model there, if it fits.
    ///
    /// # Safety
    /// The bundle's kernels must keep to the contract of [`CudaStep`] for these weights.
    pub unsafe fn new(
        bundle: &'m Bundle,
        weights: Weights,
        number: usize,
        room: Capacity,
        decode: Decode,
    ) -> Result<Cuda<'m>> {
        let model = &bundle.model;
        let device = driver::device(number)?;
        modules::require(bundle, &device)?;
        let context = Context::new(device)?;
        // Code and what the driver keeps for it are gone from the free memory when that is asked for.
        let kernels = Kernels::load(bundle, &context)?;
        if decode == Decode::Persistent && kernels.persistent.is_none() {
            let found = "--decode persistent: this executable has no such kernel; leave the flag away".into();
            return Err(Error::Usage(found));
        }
        let need = MemoryRequirement::of(model, &room);
        need.check(&context)?;
        let scratch = |bytes, what| Buffer::zeroed(&context, bytes, what);
        let [all, repeating] = result_sets(&room);
        let results = |outputs| ResultSet::new(&context, model, outputs);
        Ok(Cuda {
            model,
            room,
            need,
            decode,
            graphs: Graphs::default(),
            kernels,
            weights: weights::place(&context, weights, model.weights_bytes)?,
            arena: Buffer::new(&context, need.arena, "scratch memory")?,
            counters: scratch(4 * u64::from(model.counters), "counters")?,
            allowed: None,
            uploads: Uploads::new(&context, &room)?,
            results: [results(all)?, results(repeating)?],
            current: 0,
            ahead: None,
            last: None,
            profile: None,
            host_logits: Pinned::zeroed(&context, 4 * model.vocab_rows as usize)?,
            host_state: Pinned::zeroed(&context, 4 * model.hidden.width as usize)?,
            host_gain: Pinned::zeroed(&context, 4 * model.hidden.width as usize)?,
            picks: Picks::None,
            context,
        })
    }

    /// The model.
    pub fn model(&self) -> &'m CudaModel {
        self.model
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.context.device().name
    }

    /// The context, for measurements.
    pub fn context(&self) -> &Rc<Context> {
        &self.context
    }

    /// Memory of the device that it takes.
    pub fn need(&self) -> &MemoryRequirement {
        &self.need
    }

    /// Rows of the largest step.
    pub(crate) fn max_rows(&self) -> usize {
        self.room.rows
    }

    /// Most rows of a step whose results can be wanted.
    pub(crate) fn max_outputs(&self) -> usize {
        self.room.outputs.max(1)
    }

    /// Says which tokens picks may be.
    pub(crate) fn allow(&mut self, allowed: &[bool]) -> Result<()> {
        let rows = self.model.vocab_rows as usize;
        // Their address is in the records.
        self.drain()?;
        self.graphs.clear();
        self.allowed = None;
        if allowed.len() >= rows && allowed[..rows].iter().all(|&a| a) {
            return Ok(());
        }
        let bytes = 4 * allowed_words(self.model) as usize;
        let mut bits = Pinned::zeroed(&self.context, bytes)?;
        for (id, _) in allowed.iter().enumerate().take(rows).filter(|(_, &a)| a) {
            // Words are little-endian, so bit `id` of the words is bit `id` of the bytes.
            bits.bytes_mut()[id / 8] |= 1 << (id % 8);
        }
        let buffer = Buffer::new(&self.context, bytes as u64, "allowed tokens")?;
        // SAFETY: `drain` waits for it.
        unsafe { buffer.upload(0, &bits, bytes)? };
        self.allowed = Some(buffer);
        self.drain()
    }

    /// A fresh cache of `bytes`.
    pub(crate) fn cache(&self, bytes: u64) -> Result<Buffer> {
        Buffer::zeroed(&self.context, bytes, "KV cache")
    }

    /// Starts one step.
    ///
    /// # Safety
    /// As for [`crate::inference::engine::Engine::step`].
    pub(crate) unsafe fn step(&mut self, step: &Step) -> Result<()> {
        if step.kv_capacity > self.room.capacity {
            let (found, limit) = (step.kv_capacity, self.room.capacity);
            return Err(Error::ContextFull { needed: found, limit, most: self.model.max_context as usize });
        }
        // The last step's picks move the rows on the device.
        self.finish()?;
        let picked = step.results == Results::Picks && !step.outputs.is_empty();
        let advance = picked && uploads::can_advance(step.rows, step.outputs);
        let next = self.other_set(step.outputs.len());
        let argument = self.argument(step, advance, next);
        let follows = advance && self.uploads.has(step.rows, step.outputs);
        if !(follows && self.ahead == Some(argument)) {
            self.drain()?;
            self.picks = Picks::None;
            self.uploads.bring(step.rows, step.outputs)?;
            // SAFETY: by the caller's promise; rows and outputs were brought just now.
            unsafe { self.launch(&argument, next)? };
        }
        self.ahead = None;
        self.current = next;
        self.picks = if picked { Picks::Coming } else { Picks::None };
        if advance {
            self.uploads.advances();
        }
        let fits = |row: &Row| (row.position as usize) + 1 < step.kv_capacity;
        let repeats = follows && step.rows.len() <= self.results[1].outputs && self.profile.is_none();
        if repeats && self.decode != Decode::Launches && step.rows.iter().all(fits) {
            let next = self.other_set(step.outputs.len());
            let argument = self.argument(step, advance, next);
            // SAFETY: its rows are one position further, which the caches have room for, and on the device when it runs. A cache
            // is freed only after everything on the stream has run.
            unsafe { self.launch(&argument, next)? };
            self.ahead = Some(argument);
        }
        Ok(())
    }

    /// Index of the set of results that the last step does not use, or of the larger one if `outputs` do not fit it.
    fn other_set(&self, outputs: usize) -> usize {
        let other = 1 - self.current;
        if outputs <= self.results[other].outputs {
            other
        } else {
            0
        }
    }

    /// Launches a step whose results go to the set with index `results`.
    ///
    /// # Safety
    /// The step must keep to the contract of [`CudaStep`] until it is done: its rows and outputs are on the device when it
    /// runs, and each row's cache holds `kv_capacity` positions.
    unsafe fn launch(&mut self, argument: &CudaStep, results: usize) -> Result<()> {
        let (kernels, stream) = (&self.kernels, self.context.stream());
        let layers = self.model.layer_groups.as_slice();
        self.last = Some(*argument);
        let one = self.decode == Decode::Persistent && argument.n_rows == 1 && argument.n_outputs == 1;
        // SAFETY (all): buffers are as large as the contract asks, which `Need` and `new` have seen to, and ours
        // alone; the rest is the caller's promise.
        let launches = || match one {
            true => unsafe { launch::persistent(kernels, argument, stream) },
            false => unsafe {
                let programmatic = self.decode != Decode::Launches;
                launch::step(kernels, layers, argument, programmatic, stream, &mut |_| Ok(()))
            },
        };
        let recorded = match self.decode {
            Decode::Launches => false,
            Decode::Graph => true,
            Decode::Persistent => !one || self.context.records_cooperative_launches(),
        };
        let launched = match &mut self.profile {
            Some(profile) => unsafe {
                launch::step(kernels, layers, argument, false, stream, &mut |kernel| profile.mark(kernel))
            },
            None if recorded => unsafe { self.graphs.run(argument, stream, launches) },
            None => launches(),
        };
        let launched = launched.and_then(|()| self.results[results].launched(&self.context));
        if launched.is_err() {
            self.uploads.forget();
        }
        launched
    }

    fn argument(&self, step: &Step, advance: bool, results: usize) -> CudaStep {
        let results = &self.results[results];
        CudaStep {
            weights: self.weights.address(),
            arena: self.arena.address(),
            rows: self.uploads.rows(),
            outputs: self.uploads.outputs(),
            logits: results.logits.address(),
            picks: results.picks_address(),
            allowed: self.allowed.as_ref().map_or(0, Buffer::address),
            counters: self.counters.address(),
            kv_capacity: step.kv_capacity as u64,
            n_rows: step.rows.len() as u32,
            n_outputs: step.outputs.len() as u32,
            max_rows: self.room.rows as u32,
            layer: 0,
            kv_type: step.kv as u32,
            advance: u32::from(advance),
        }
    }

    /// Logits of the last step's output `index`.
    pub(crate) fn logits(&mut self, index: usize) -> Result<&[f32]> {
        let (stride, rows) = (u64::from(self.model.logits_stride), self.model.vocab_rows as usize);
        let logits = &self.results[self.current].logits;
        // SAFETY: read only after the stream has been waited for.
        unsafe { logits.download(4 * stride * index as u64, &self.host_logits, 4 * rows)? };
        self.context.finish()?;
        Ok(self.host_logits.floats(rows))
    }

    /// The last hidden state of the last step's row `row`, and the final norm's gain. Not for steps of picks, whose hidden
    /// states the step ahead overwrites.
    pub(crate) fn state(&mut self, row: usize) -> Result<(&[f32], Option<&[f32]>)> {
        if self.ahead.is_some() {
            return Err(Error::Internal("a hidden state of a step of picks".into()));
        }
        let (arena, hidden) = (&self.model.arena, &self.model.hidden);
        let rows = (self.room.rows as u64).next_multiple_of(u64::from(arena.row_tile));
        let at = arena.fixed + rows * hidden.offset + row as u64 * hidden.row_bytes;
        let (width, has_gain) = (hidden.width as usize, hidden.gain != u64::MAX);
        // SAFETY: read only after the stream has been waited for.
        unsafe {
            self.arena.download(at, &self.host_state, 4 * width)?;
            if has_gain {
                self.weights.download(hidden.gain, &self.host_gain, 4 * width)?;
            }
        }
        self.context.finish()?;
        Ok((self.host_state.floats(width), has_gain.then(|| self.host_gain.floats(width))))
    }

    /// The pick of the last step's output `index`, or its logits where none was asked for or none could be made.
    pub(crate) fn output(&mut self, index: usize) -> Result<Output<'_>> {
        self.finish()?;
        if self.picks == Picks::Here {
            let token = self.results[self.current].pick(index);
            if token < self.model.vocab_rows {
                return Ok(Output::Pick(token));
            }
        }
        // The sampler says what is wrong with them.
        self.logits(index).map(Output::Logits)
    }

    /// Waits for the last step, but not for the step ahead.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.picks == Picks::Here {
            return Ok(());
        }
        self.results[self.current].wait()?;
        if self.picks == Picks::Coming {
            self.picks = Picks::Here;
            let results = &self.results[self.current];
            let picks: Vec<u32> = (0..self.uploads.advancing()).map(|i| results.pick(i)).collect();
            self.uploads.advanced(&picks);
        }
        Ok(())
    }

    /// Waits for everything on the stream, and drops the step ahead.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.finish()?;
        self.context.finish()?;
        if self.ahead.take().is_some() {
            // It has moved the rows on the device one position further.
            self.uploads.forget();
        }
        Ok(())
    }
}

impl Drop for Cuda<'_> {
    fn drop(&mut self) {
        // Nothing may be unloaded under a kernel that runs. An error was reported when it happened.
        let _ = self.context.finish();
    }
}
