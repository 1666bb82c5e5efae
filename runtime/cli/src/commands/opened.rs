//! Opened model of a command: the image, its tokenizer, an engine.
//!
//! In: the program, `--weights` and the machine's flags. Out: [`Opened`]. Invariant: the processor is
//! checked before anything that could run generated code is made.

use std::path::Path;
use std::sync::Arc;

use qwenc_abi::metadata::Metadata;
use qwenc_abi::KvType;

use crate::cli::{Adapter, Machine};
use crate::commands::verify;
use qwenc_engine::cpu;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::image::metadata::adapter_names;
use qwenc_engine::image::Image;
use qwenc_engine::inference::cuda::memory_requirement::Capacity;
use qwenc_engine::inference::cuda::weights::Weights;
use qwenc_engine::inference::cuda::Cuda;
use qwenc_engine::inference::engine::{Engine, DEFAULT_CHUNK};
use qwenc_engine::inference::kv;
use qwenc_engine::inference::session::{check_context, Session};
use qwenc_engine::machine::system;
use qwenc_engine::phases::timed;
use qwenc_engine::program::{Code, Program, Sizes};
use qwenc_engine::threads::cores::{self, Placement};
use qwenc_text::template::ChatTemplate;
use qwenc_text::tokenizer::Tokenizer;

/// The image with its tokenizer read.
pub struct Opened {
    /// Weights image; `None` where weights are synthetic and there is none.
    pub image: Option<Image>,
    /// Tokenizer; `None` if the image has none.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Metadata where there is no image.
    unknown: Metadata,
    synthetic: bool,
}

/// Largest demands of a command on the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Rows of a step whose results are wanted; no more than the step can have are taken.
    pub outputs: usize,
    /// Sequences that are held at a time.
    pub sequences: usize,
    /// Element type of their caches.
    pub kv: KvType,
}

impl Opened {
    /// Checks the processor, then opens the image for running the model.
    pub fn new(program: &Program, weights: Option<&Path>) -> Result<Opened> {
        if let Code::Cpu(model) = program.code {
            cpu::require(model)?;
        }
        let bytes = program.code.sizes().weights_bytes;
        let find = || Image::find(weights, &program.executable, bytes, program.identity);
        let mut image = timed("opening the weights image", find)?;
        // A GPU's driver takes a while to start, in which the file can be read; not what would not stay in memory.
        if bytes < system::available_bytes().unwrap_or(u64::MAX) / 2 || matches!(program.code, Code::Cpu(_)) {
            image.warm();
        }
        Opened::of(Some(image), false)
    }

    /// For weights that are made up: the image is used for all else if it is there.
    pub fn synthetic(program: &Program, weights: Option<&Path>) -> Result<Opened> {
        let bytes = program.code.sizes().weights_bytes;
        match Image::find(weights, &program.executable, bytes, program.identity) {
            Ok(image) => Opened::of(Some(image), true),
            Err(Error::NoImage { .. }) => Opened::of(None, true),
            Err(e) => Err(e),
        }
    }

    fn of(image: Option<Image>, synthetic: bool) -> Result<Opened> {
        let bytes = image.as_ref().map(Image::tokenizer).filter(|bytes| !bytes.is_empty());
        let open = || bytes.as_ref().map(Tokenizer::open).transpose();
        let tokenizer = timed("opening the tokenizer", open)?.map(Arc::new);
        Ok(Opened { image, tokenizer, unknown: Metadata::default(), synthetic })
    }

    /// Metadata of the model; all neutral without an image.
    pub fn metadata(&self) -> &Metadata {
        self.image.as_ref().map_or(&self.unknown, Image::metadata)
    }

    /// The engine for this image.
    ///
    /// # Safety
    /// `program.code` must keep to the contract of `StepFn` or `CudaStep` for weights that carry
    /// `program.identity`.
    pub unsafe fn engine<'a>(
        &'a self,
        program: &Program<'a>,
        machine: &Machine,
        wanted: Use,
    ) -> Result<Engine<'a>> {
        let sizes = program.code.sizes();
        let rows = max_rows(machine, sizes.max_context as usize)?;
        let weights = self.image.as_ref().map_or(&[][..], Image::weights);
        let mut engine = match program.code {
            Code::Cpu(model) => {
                let placement = placement(machine)?;
                // SAFETY: the image belongs to the code and `new` checked the processor.
                timed("starting the threads", || unsafe { Engine::new(model, weights, placement, rows) })?
            }
            Code::Cuda(bundle) => {
                verify::code(program, bundle)?;
                let room = room(&sizes, machine, wanted)?;
                let from = if self.synthetic { Weights::Synthetic } else { Weights::Packed(weights) };
                let number = machine.device.unwrap_or(0);
                // SAFETY: the image belongs to the code.
                let start = || unsafe { Cuda::new(bundle, from, number, room, machine.launching()) };
                Engine::cuda(timed("starting the GPU", start)?)
            }
        };
        if engine.gpu().is_some() {
            self.image.iter().for_each(Image::release_weights);
        }
        engine.allow(&self.allowed(program))?;
        Ok(engine)
    }

    /// The KV cache that flag or image ask for.
    pub fn kv(&self, machine: &Machine) -> Result<KvType> {
        kv::chosen(machine.kv(), self.metadata())
    }

    /// An empty sequence for this engine, with the KV cache that flag or image ask for.
    pub fn session(&self, engine: &Engine, machine: &Machine) -> Result<Session> {
        Session::new(engine, machine.context, self.kv(machine)?)
    }

    /// The number of the adapter that a flag names, 0 if none does.
    pub fn adapter(&self, flag: &Adapter) -> Result<u32> {
        let Some(name) = &flag.lora else { return Ok(0) };
        let about = self.metadata();
        about.adapter(name).ok_or_else(|| {
            Error::Usage(format!(
                "--lora {name}: expected an adapter of this executable: {}",
                adapter_names(about)
            ))
        })
    }

    /// Which tokens may be sampled: those that the tokenizer knows, all without one.
    pub fn allowed(&self, program: &Program) -> Vec<bool> {
        let rows = program.code.sizes().vocab_rows as usize;
        self.tokenizer.as_ref().map_or_else(|| vec![true; rows], |t| t.known(rows))
    }

    /// The checkpoint's chat templates.
    pub fn template(&self) -> Result<ChatTemplate> {
        ChatTemplate::of(self.metadata()).ok_or(Error::NoTemplate)
    }

    /// The tokenizer, or an error that says what it was wanted for.
    pub fn text(&self, action: &'static str) -> Result<&Arc<Tokenizer>> {
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

/// Capacity that a GPU must have.
pub fn room(sizes: &Sizes, machine: &Machine, wanted: Use) -> Result<Capacity> {
    let most = sizes.max_context as usize;
    let rows = max_rows(machine, most)?;
    let capacity = sizes.capacity(check_context(machine.context, most)?);
    let Use { outputs, sequences, kv } = wanted;
    Ok(Capacity { rows, outputs: outputs.min(rows), capacity, sequences, kv })
}
