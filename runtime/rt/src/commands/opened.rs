//! What commands open before they run the model: the image, its tokenizer, an engine.
//!
//! In: the program, `--weights` and the machine's flags. Out: [`Opened`]. Invariant: the processor is
//! checked before anything that could run generated code is made.

use std::path::Path;

use crate::cli::Machine;
use crate::cpu;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::inference::engine::{Engine, DEFAULT_CHUNK};
use crate::inference::kv;
use crate::inference::session::{check_context, Session};
use crate::program::Program;
use crate::text::tokenizer::Tokenizer;
use crate::threads::cores::{self, Placement};

/// The image with its tokenizer read.
pub struct Opened {
    /// The image.
    pub image: Image,
    /// None if the image has none.
    pub tokenizer: Option<Tokenizer>,
}

impl Opened {
    /// Checks the processor, then opens the image for running the model.
    pub fn new(program: &Program, weights: Option<&Path>) -> Result<Opened> {
        cpu::require(program.model)?;
        let mut image = Image::find(weights, &program.executable, program.model, program.identity)?;
        image.warm();
        let json = image.tokenizer();
        let tokenizer = if json.is_empty() { None } else { Some(Tokenizer::from_bytes(json)?) };
        Ok(Opened { image, tokenizer })
    }

    /// The engine for this image.
    ///
    /// # Safety
    /// `program.model.step` must keep to the contract of `StepFn` for weights that carry
    /// `program.identity`.
    pub unsafe fn engine<'a>(&'a self, program: &Program<'a>, machine: &Machine) -> Result<Engine<'a>> {
        let rows = max_rows(machine, program.model.max_context as usize)?;
        // SAFETY: the image belongs to the code and `new` checked the processor.
        unsafe { Engine::new(program.model, self.image.weights(), placement(machine)?, rows) }
    }

    /// An empty sequence for this engine, with the KV cache that flag or image ask for.
    pub fn session(&self, engine: &Engine, machine: &Machine) -> Result<Session> {
        Session::new(engine, machine.context, kv::chosen(machine.kv(), self.image.metadata())?)
    }

    /// Which tokens may be sampled: those that the tokenizer knows, all without one.
    pub fn allowed(&self, program: &Program) -> Vec<bool> {
        let rows = program.model.vocab_rows as usize;
        self.tokenizer.as_ref().map_or_else(|| vec![true; rows], |t| t.known(rows))
    }

    /// The tokenizer, or an error that says what it was wanted for.
    pub fn text(&self, action: &'static str) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or(Error::NoTokenizer { action })
    }
}

/// Threads to use, and where.
pub fn placement(machine: &Machine) -> Result<Placement> {
    let threads = machine.threads.map_or_else(cores::available, usize::from);
    if machine.pin {
        return Placement::pinned(threads);
    }
    Ok(Placement::from(threads))
}

/// Rows of the largest step: no more than a sequence can have.
pub fn max_rows(machine: &Machine, most: usize) -> Result<usize> {
    let limit = check_context(machine.context, most)?;
    Ok(machine.chunk.map_or(DEFAULT_CHUNK, |n| n as usize).min(limit.max(1)))
}
