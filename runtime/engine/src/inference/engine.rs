//! Engine: runs one step of the model on threads of this process or on a GPU.
//!
//! In: rows (token, position, cache) and which of them want results. Out: logits, or the likeliest tokens where
//! the processor finds them itself, or embeddings. Invariant: rows handed to generated code have tokens below `vocab_rows`, and
//! everything else in this crate is the same wherever the model runs.

use qwenc_abi::metadata::Activation;
use qwenc_abi::{KvType, ModelInfo};

use crate::error::{Error, Result};
use crate::inference::activation_capture::{Recorded, Recorder};
use crate::inference::cache::Cache;
use crate::inference::cpu::Cpu;
use crate::inference::cuda::Cuda;
use crate::inference::embedding::embedding;
use crate::inference::step::{Output, OutputPlace, Step};
use crate::program::Sizes;
use crate::threads::cores::Placement;

/// Rows of the largest step where no flag says.
pub const DEFAULT_CHUNK: usize = 512;

/// A model ready to run.
pub struct Engine<'m> {
    sizes: Sizes,
    runner: Runner<'m>,
    embedding: Vec<f32>,
}

enum Runner<'m> {
    Cpu(Cpu<'m>),
    Cuda(Box<Cuda<'m>>),
}

impl<'m> Engine<'m> {
    /// On threads of this process: starts them and reserves scratch for steps of at most `max_rows` rows.
    ///
    /// # Safety
    /// `model.step` must keep to the contract of `StepFn` for these weights, and the processor must
    /// have the features that it was compiled for.
    pub unsafe fn new(
        model: &'m ModelInfo,
        weights: &'m [u8],
        threads: impl Into<Placement>,
        max_rows: usize,
    ) -> Result<Engine<'m>> {
        // SAFETY: by the caller's promise.
        let cpu = unsafe { Cpu::new(model, weights, threads.into(), max_rows.max(1))? };
        Ok(Engine { sizes: Sizes::from(model), runner: Runner::Cpu(cpu), embedding: Vec::new() })
    }

    /// On a GPU.
    pub fn cuda(cuda: Cuda<'m>) -> Engine<'m> {
        let sizes = Sizes::from(cuda.model());
        Engine { sizes, runner: Runner::Cuda(Box::new(cuda)), embedding: Vec::new() }
    }

    /// The model's sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Processor that runs the model, in words.
    pub fn place(&self) -> String {
        match &self.runner {
            Runner::Cpu(cpu) => format!("threads: {}", cpu.placement().threads()),
            Runner::Cuda(cuda) => format!("device: {}", cuda.device()),
        }
    }

    /// The threads, where it runs on threads.
    pub fn placement(&self) -> Option<&Placement> {
        match &self.runner {
            Runner::Cpu(cpu) => Some(cpu.placement()),
            Runner::Cuda(_) => None,
        }
    }

    /// The GPU, where it runs on one, for measurements that launch kernels.
    pub fn gpu_mut(&mut self) -> Option<&mut Cuda<'m>> {
        match &mut self.runner {
            Runner::Cpu(_) => None,
            Runner::Cuda(cuda) => Some(cuda),
        }
    }

    /// The GPU, where it runs on one.
    pub fn gpu(&self) -> Option<&Cuda<'m>> {
        match &self.runner {
            Runner::Cpu(_) => None,
            Runner::Cuda(cuda) => Some(cuda),
        }
    }

    /// Rows of the largest step.
    pub fn max_rows(&self) -> usize {
        match &self.runner {
            Runner::Cpu(cpu) => cpu.max_rows(),
            Runner::Cuda(cuda) => cuda.max_rows(),
        }
    }

    /// Most rows of a step whose results can be wanted.
    pub fn max_outputs(&self) -> usize {
        match &self.runner {
            Runner::Cpu(cpu) => cpu.max_rows(),
            Runner::Cuda(cuda) => cuda.max_outputs(),
        }
    }

    /// Says which tokens a pick may be: `allowed[id]`, ids beyond it not. Until then all may.
    pub fn allow(&mut self, allowed: &[bool]) -> Result<()> {
        match &mut self.runner {
            // There the sampler reads logits and knows itself.
            Runner::Cpu(_) => Ok(()),
            Runner::Cuda(cuda) => cuda.allow(allowed),
        }
    }

    /// Records these activations of all steps from now on; only on threads.
    pub fn record(&mut self, places: &[Activation]) -> Result<()> {
        match &mut self.runner {
            Runner::Cpu(cpu) => {
                cpu.recorder = Some(Recorder::new(cpu.model(), places)?);
                Ok(())
            }
            Runner::Cuda(_) => {
                let what = "activations cannot be read on a GPU; compile with `qwenc compile --target cpu`";
                Err(Error::Usage(what.into()))
            }
        }
    }

    /// Name and width of what is being recorded, in the order in which it will be given.
    pub fn recording(&self) -> Vec<(String, usize)> {
        match &self.runner {
            Runner::Cpu(cpu) => cpu.recorder.as_ref().map_or(Vec::new(), Recorder::shapes),
            Runner::Cuda(_) => Vec::new(),
        }
    }

    /// Recorded activations; recording ends.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        match &mut self.runner {
            Runner::Cpu(cpu) => cpu.recorder.take().map_or(Vec::new(), Recorder::into_records),
            Runner::Cuda(_) => Vec::new(),
        }
    }

    /// Refuses a token that the model does not have.
    pub fn check_token(&self, token: u32) -> Result<()> {
        if token < self.sizes.vocab_rows {
            return Ok(());
        }
        Err(Error::TokenRange { token, last: self.sizes.vocab_rows.saturating_sub(1) })
    }

    /// A fresh cache of `capacity` positions.
    pub(crate) fn cache(&self, kv: KvType, capacity: usize) -> Result<Cache> {
        let bytes = self.sizes.kv_bytes(kv, capacity as u64);
        match &self.runner {
            Runner::Cpu(_) => Cpu::cache(kv, bytes).map(Cache::Host),
            Runner::Cuda(cuda) => cuda.cache(bytes).map(Cache::Device),
        }
    }

    /// Runs one step. On a GPU it may still be under way when this returns.
    ///
    /// # Safety
    /// Every `Row::kv` must hold `kv_capacity` positions of type `kv`, come from this engine's `cache` and belong
    /// to no other code until the results are there, and rows must be ordered as `Row::position` says.
    pub(crate) unsafe fn step(&mut self, step: &Step) -> Result<()> {
        let (rows, outputs) = (step.rows.len(), step.outputs.len());
        debug_assert!(rows > 0 && rows <= self.max_rows() && outputs <= rows.min(self.max_outputs()));
        match &mut self.runner {
            Runner::Cpu(cpu) => {
                // SAFETY: by the caller's promise.
                unsafe { cpu.step(step) };
                Ok(())
            }
            // SAFETY: by the caller's promise.
            Runner::Cuda(cuda) => unsafe { cuda.step(step) },
        }
    }

    /// Result of the last step at `place`, in the form that the step asked for.
    pub(crate) fn output(&mut self, place: OutputPlace) -> Result<Output<'_>> {
        match (place, &mut self.runner) {
            (OutputPlace::Output(index), Runner::Cpu(cpu)) => Ok(Output::Logits(cpu.logits(index))),
            (OutputPlace::Output(index), Runner::Cuda(cuda)) => cuda.output(index),
            (OutputPlace::State(row), runner) => {
                let (state, gain) = match runner {
                    Runner::Cpu(cpu) => cpu.state(row)?,
                    Runner::Cuda(cuda) => cuda.state(row)?,
                };
                self.embedding = embedding(state, gain)?;
                Ok(Output::Embedding(&self.embedding))
            }
        }
    }

    /// Waits until nothing is under way.
    pub fn finish(&mut self) -> Result<()> {
        match &mut self.runner {
            Runner::Cpu(_) => Ok(()),
            Runner::Cuda(cuda) => cuda.drain(),
        }
    }
}
