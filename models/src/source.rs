//! Whatever a command names: a model.bin, or something to export. In: a path. Out: it, opened.
//!
//! Invariant: what a path is, is known by its contents; a model.bin is never exported again.

use std::path::Path;

use qwenc_formats::DType;
use qwenc_ir::{Graph, WeightDecl, WeightSource};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Result;
use crate::files;
use crate::import::{self, Hints};
use crate::model_file::ModelFile;
use crate::side_files::SideFiles;
use crate::tensor_order::tensors_in_order;

/// A model, opened.
pub enum Source {
    /// A model.bin, ready to be compiled.
    ModelFile(Box<ModelFile>),
    /// A folder, or a file of another format, for [`export`](crate::export()).
    Checkpoint(Box<Checkpoint>),
}

impl Source {
    /// Opens a path; `hints` say what some old files do not.
    pub fn open(path: &Path, hints: Hints) -> Result<Source> {
        if !path.is_dir() && import::format_name(&files::map(path)?).is_none() {
            return ModelFile::open(path).map(|file| Source::ModelFile(Box::new(file)));
        }
        Checkpoint::open_with(path, hints).map(|checkpoint| Source::Checkpoint(Box::new(checkpoint)))
    }
    /// config.json.
    pub fn config(&self) -> &Config {
        match self {
            Source::ModelFile(file) => file.config(),
            Source::Checkpoint(checkpoint) => checkpoint.config(),
        }
    }

    /// The graph, with weights of the types that are stored.
    pub fn graph(&self) -> Result<Graph> {
        match self {
            Source::ModelFile(file) => file.graph(),
            Source::Checkpoint(checkpoint) => checkpoint.graph(),
        }
    }

    /// Every tensor of the model in its stored type, in the order of model.bin: the graph's weights layer by layer, each
    /// under its name in the checkpoint.
    pub fn tensors(&self) -> Vec<WeightDecl> {
        match self {
            Source::ModelFile(file) => {
                declared(file.config(), |name| file.weight_types().of_tensor(name).unwrap_or(DType::F32))
            }
            Source::Checkpoint(checkpoint) => {
                declared(checkpoint.config(), |name| checkpoint.type_read(name))
            }
        }
    }

    /// The values of the graph's weights, and of [`Source::tensors`].
    pub fn weights(&self) -> &dyn WeightSource {
        match self {
            Source::ModelFile(file) => &**file,
            Source::Checkpoint(checkpoint) => &**checkpoint,
        }
    }

    /// The texts beside the weights, and what they say.
    pub fn side_files(&self) -> &SideFiles {
        match self {
            Source::ModelFile(file) => file.side_files(),
            Source::Checkpoint(checkpoint) => checkpoint.side_files(),
        }
    }
}

fn declared(config: &Config, dtype: impl Fn(&str) -> DType) -> Vec<WeightDecl> {
    let tensors = tensors_in_order(config).into_iter();
    tensors.map(|(name, spec)| WeightDecl { dtype: dtype(&name), name, shape: spec.shape }).collect()
}
