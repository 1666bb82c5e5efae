//! One of two models that are compared: what it is, and what it computes.
//!
//! In: a path and tokens. Out: activations and logits by name, as many rows as tokens. Invariant: what a file is, is
//! known by its contents; models are run by the interpreter, executables as programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use qwenc_abi::metadata::InputForm;
use qwenc_ir::interp::{Interpreter, Precision, Value};
use qwenc_ir::{verify, Graph, WeightDecl};
use qwenc_models::{Hints, Source};

use super::order::Types;
use crate::outcome::Outcome;
use crate::{executable, input, progress};

/// A model, or what is left of one.
pub enum Side {
    /// Anything that a graph can be made of.
    Model {
        /// Path as it was given.
        path: PathBuf,
        /// Opened.
        model: Box<Source>,
    },
    /// A compiled model.
    Executable {
        /// Path as it was given.
        path: PathBuf,
        /// Facts that `info` prints.
        about: executable::About,
    },
    /// Activations that were computed elsewhere.
    Dump {
        /// Path as it was given.
        path: PathBuf,
        /// Its contents.
        outcome: Outcome,
    },
}

impl executable::About {
    /// Formats of its weights.
    fn types(&self) -> Types {
        let model = &self.0["model"];
        let inputs = serde_json::from_value::<Vec<InputForm>>(model["inputs"].clone()).unwrap_or_default();
        let rounded = inputs.contains(&InputForm::Bf16);
        let stored = match model["weight_type"].as_str().unwrap_or_default() {
            "int8" => Types::Int8,
            "int4" => Types::Int4,
            name => name.parse().map_or(Types::Unknown, Types::of),
        };
        match stored {
            Types::Float(_) | Types::Unknown if rounded || self.runs_on_gpu() => Types::Rounded,
            stored => stored,
        }
    }
}

impl Side {
    /// Finds out what stands at a path.
    pub fn open(path: &Path, hints: Hints) -> Result<Side> {
        let owned = path.to_path_buf();
        if executable::is_one(path) {
            return Ok(Side::Executable { about: executable::about(path)?, path: owned });
        }
        if is_safetensors(path) {
            return Ok(Side::Dump { outcome: Outcome::read(path)?, path: owned });
        }
        Ok(Side::Model { path: owned, model: Box::new(input::opened(path, hints)?) })
    }

    /// Path as it was given.
    pub fn path(&self) -> String {
        let (Side::Model { path, .. } | Side::Executable { path, .. } | Side::Dump { path, .. }) = self;
        path.display().to_string()
    }

    /// The tokens that it alone can be asked for.
    pub fn tokens(&self) -> Option<&[u32]> {
        match self {
            Side::Dump { outcome, .. } => Some(&outcome.tokens),
            _ => None,
        }
    }

    /// Formats of its weights.
    pub fn types(&self) -> Types {
        match self {
            Side::Dump { .. } => Types::Unknown,
            Side::Executable { about, .. } => about.types(),
            Side::Model { model, .. } => model.graph().map_or(Types::Unknown, |graph| coarsest(&graph)),
        }
    }

    /// For a person.
    pub fn words(&self, outcome: &Outcome) -> String {
        let (path, count) = (self.path(), outcome.values.len());
        match self {
            Side::Dump { .. } => format!("{path}: {count} recorded activations"),
            Side::Executable { about, .. } => {
                format!("{path}: executable, {}, {count} activations", about.words())
            }
            Side::Model { model, .. } => {
                let what = match **model {
                    Source::ModelFile(_) => "model.bin",
                    Source::Checkpoint(_) => "checkpoint",
                };
                format!("{path}: {what} in the interpreter, {count} activations")
            }
        }
    }

    /// Computes, or looks up.
    pub fn run(&self, tokens: &[u32]) -> Result<Outcome> {
        match self {
            Side::Dump { outcome, .. } => {
                Ok(Outcome { tokens: outcome.tokens.clone(), values: outcome.values.clone() })
            }
            Side::Executable { path, .. } => executable::logits(path, tokens),
            Side::Model { model, .. } => interpreted(model, tokens).with_context(|| self.path()),
        }
    }
}

/// A safetensors file begins with the length of its JSON.
fn is_safetensors(path: &Path) -> bool {
    let Ok(mut file) = qwenc_files::regular(path) else { return false };
    let mut start = [0; 9];
    std::io::Read::read_exact(&mut file, &mut start).is_ok() && start[8] == b'{' && start[6..8] == [0, 0]
}

/// The type of the graph's matrices that has the fewest bits.
fn coarsest(graph: &Graph) -> Types {
    let matrices = graph.weights.iter().filter(|w| w.shape.len() == 2);
    let bits = |w: &&WeightDecl| {
        let (elements, bytes) = w.dtype.block();
        8 * bytes / elements
    };
    matrices.min_by_key(bits).map_or(Types::Unknown, |w| Types::of(w.dtype))
}

fn interpreted(model: &Source, tokens: &[u32]) -> Result<Outcome> {
    let graph = verify(model.graph()?).context("the model's graph")?;
    let rows = graph.dims.vocab_rows;
    if let Some(token) = tokens.iter().find(|&&t| t >= rows) {
        bail!("token {token}: expected ids below {rows}, the rows of the embedding");
    }
    if tokens.len() > graph.dims.context as usize {
        bail!("{} tokens: the model handles at most {}", tokens.len(), graph.dims.context);
    }
    let working = progress::step("interpreting");
    let mut values = BTreeMap::new();
    let mut observe = |name: &str, value: &Value| {
        values.insert(name.to_string(), value.to_f32());
    };
    Interpreter::new(&graph, model.weights(), Precision::F32).step(tokens, &mut observe)?;
    working.finish_and_clear();
    Ok(Outcome { tokens: tokens.to_vec(), values })
}
