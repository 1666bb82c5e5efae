//! The model while `bench` measures it.
//!
//! In: an engine, sequences, lengths. Out: times. Invariant: what stands before the timed part is done when the
//! clock starts, and what is timed is done when it stops.

use std::time::{Duration, Instant};

use super::probe::Probe;
use super::{seconds, Lengths, Round};
use qwenc_engine::error::Result;
use qwenc_engine::inference::batch::Batch;
use qwenc_engine::inference::cuda::profile::{KernelTime, Probed};
use qwenc_engine::inference::engine::Engine;
use qwenc_engine::inference::sampler::Sampler;
use qwenc_engine::inference::session::Session;
use qwenc_engine::inference::step::Wanted;

/// Tokens decoded with a profile; that of the last one counts.
const PROFILED: usize = 3;

/// Profile of a decoded token, and limits of the device.
pub(super) struct Profiled {
    pub(super) kernels: Vec<KernelTime>,
    pub(super) probed: Option<Probed>,
}

/// Model and sequences that are measured.
pub(super) struct Model<'a> {
    pub(super) engine: Engine<'a>,
    /// For prefill and first token, which begin with an empty cache.
    pub(super) prompts: Session,
    /// For decode from a longer beginning, which is found in the cache after the first time.
    pub(super) answers: Option<Session>,
    pub(super) batch: Batch,
    pub(super) sampler: Sampler,
    pub(super) tokens: Vec<u32>,
    pub(super) lengths: Lengths,
}

impl Model<'_> {
    pub(super) fn round(&mut self, probe: &Probe) -> Result<Round> {
        let (prefill, first, decode) = (self.prefill()?, self.first_token()?, self.decode()?);
        let together = self.decode_together()?;
        let decoded = self.lengths.new * self.batch.sequences().len();
        Ok(Round {
            prefill_tok_s: self.lengths.prompt as f64 / seconds(prefill),
            first_token_ms: seconds(first) * 1e3,
            decode_tok_s: self.lengths.new as f64 / seconds(decode),
            batch_tok_s: (decoded > 0).then(|| decoded as f64 / seconds(together)),
            limits: probe.measure()?,
        })
    }

    /// Time of the prompt from an empty cache, with the last position's logits.
    pub(super) fn prefill(&mut self) -> Result<Duration> {
        self.prompts.truncate(0);
        self.engine.finish()?;
        let start = Instant::now();
        let prompt = &self.tokens[..self.lengths.prompt];
        let wanted = (Wanted::Last, self.sampler.results());
        self.prompts.feed_for(&mut self.engine, prompt, wanted, |_, _| Ok(()))?;
        Ok(start.elapsed())
    }

    /// Time from a short prompt to its first token.
    pub(super) fn first_token(&mut self) -> Result<Duration> {
        self.prompts.truncate(0);
        self.engine.finish()?;
        let start = Instant::now();
        let prompt = &self.tokens[..self.lengths.first];
        let wanted = (Wanted::Last, self.sampler.results());
        self.prompts.feed_for(&mut self.engine, prompt, wanted, |_, output| {
            self.sampler.choose(output)?;
            Ok(())
        })?;
        Ok(start.elapsed())
    }

    /// Time of the new tokens, each fed and the next one picked; what stands before them is not timed, and run only
    /// once.
    pub(super) fn decode(&mut self) -> Result<Duration> {
        let mut next = 0;
        let wanted = (Wanted::Last, self.sampler.results());
        let session = self.answers.as_mut().unwrap_or(&mut self.prompts);
        let rest = session.reuse(&self.tokens[..self.lengths.start]);
        session.feed_for(&mut self.engine, rest, wanted, |_, output| {
            next = self.sampler.choose(output)?;
            Ok(())
        })?;
        let start = Instant::now();
        for _ in 0..self.lengths.new {
            session.feed_for(&mut self.engine, &[next], wanted, |_, output| {
                next = self.sampler.choose(output)?;
                Ok(())
            })?;
        }
        Ok(start.elapsed())
    }

    /// Profile of a decoded token, and limits of the device.
    pub(super) fn profile(&mut self) -> Result<Profiled> {
        let wanted = (Wanted::Last, self.sampler.results());
        let session = self.answers.as_mut().unwrap_or(&mut self.prompts);
        let rest = session.reuse(&self.tokens[..self.lengths.start]);
        session.feed_for(&mut self.engine, rest, wanted, |_, _| Ok(()))?;
        let mut kernels = Vec::new();
        for _ in 0..self.lengths.new.min(PROFILED) {
            if let Some(gpu) = self.engine.gpu_mut() {
                gpu.profile()?;
            }
            session.feed_for(&mut self.engine, &self.tokens[..1], wanted, |_, _| Ok(()))?;
            if let Some(gpu) = self.engine.gpu_mut() {
                kernels = gpu.profiled()?;
            }
        }
        let probed = self.engine.gpu_mut().map_or(Ok(None), |gpu| gpu.probe())?;
        Ok(Profiled { kernels, probed })
    }

    /// Time of decode for all sequences of the batch, which begin differently.
    pub(super) fn decode_together(&mut self) -> Result<Duration> {
        let count = self.batch.sequences().len();
        for index in 0..count {
            let mut beginning = self.tokens[..self.lengths.start].to_vec();
            beginning.rotate_left(index % self.lengths.start);
            self.batch.begin(&mut self.engine, index, &beginning)?;
        }
        self.engine.finish()?;
        let (mut next, results) = (vec![self.tokens[0]; count], self.sampler.results());
        let start = Instant::now();
        for _ in 0..self.lengths.new {
            let fed = next.clone();
            self.batch.feed_for(&mut self.engine, &fed, results, |i, output| {
                next[i] = self.sampler.choose(output)?;
                Ok(())
            })?;
        }
        Ok(start.elapsed())
    }
}
