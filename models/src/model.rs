//! A model to compile: its texts, and weights in the formats that its matrices will have.
//!
//! In: an open model.bin, or an open checkpoint and a choice of formats; adapters. Out: the graph and the values of its
//! weights. Invariant: a checkpoint's weights have the bytes that exporting it would write. They are converted when they are
//! read: nothing is written, and no converted tensor is kept.

use qwenc_formats::{DType, Tensor, WeightError};
use qwenc_ir::{Graph, WeightDecl, WeightSource};

use crate::adapter::{AdapterSource, MergeReport, RuntimeAdapters};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::convert;
use crate::decoder;
use crate::error::Result;
use crate::model_file::ModelFile;
use crate::named_tensors;
use crate::own_types::chosen_types;
use crate::payload_layout::EXPORTER;
use crate::quant::Quant;
use crate::runtime_lora::RuntimeLora;
use crate::side_files::SideFiles;
use crate::weight_types::WeightTypes;

/// A model to compile.
pub struct Model {
    stored: StoredModel,
    adapters: Option<RuntimeAdapters>,
    warnings: Vec<String>,
}

/// The opened file or folder.
enum StoredModel {
    ModelFile(Box<ModelFile>),
    Checkpoint(Box<Checkpoint>, WeightTypes),
}

/// The files that a model was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// JSON object of source file names and their SHA-256, if known.
    pub sources: Option<String>,
    /// Program and version that converted the weights, if stated.
    pub exporter: Option<String>,
}

impl Model {
    /// A model.bin's model, in the formats that the file has.
    pub fn of_file(file: ModelFile) -> Model {
        let warnings = file.side_files().warnings.clone();
        Model { stored: StoredModel::ModelFile(Box::new(file)), adapters: None, warnings }
    }

    /// A checkpoint's model. Without a `quant`, each matrix keeps its format where kernels read that format, and else gets
    /// one that they read; warnings name what is rounded for it.
    pub fn of_checkpoint(checkpoint: Checkpoint, quant: Option<Quant>) -> Result<Model> {
        let (types, notes) = chosen_types(&checkpoint, quant)?;
        let warnings = [checkpoint.side_files().warnings.as_slice(), &notes].concat();
        Ok(Model { stored: StoredModel::Checkpoint(Box::new(checkpoint), types), adapters: None, warnings })
    }

    /// With adapters, by name, to choose from while the model runs; the reports say what each of them changes.
    pub fn with_adapters(mut self, named: &[(String, AdapterSource)]) -> Result<(Model, Vec<MergeReport>)> {
        let adapters = RuntimeAdapters::open(self.config(), named)?;
        let reports = adapters.reports();
        self.adapters = (!named.is_empty()).then_some(adapters);
        Ok((self, reports))
    }

    /// Names of the adapters to choose from, in the order of their numbers, which begin with 1.
    pub fn adapters(&self) -> Vec<&str> {
        self.adapters.as_ref().map(RuntimeAdapters::names).unwrap_or_default()
    }

    /// Whether a weight of the graph is an adapter's.
    pub fn is_of_adapter(decl: &WeightDecl) -> bool {
        RuntimeLora::has(&decl.name)
    }

    /// Name of the model, if its file has one.
    pub fn name(&self) -> Option<&str> {
        match &self.stored {
            StoredModel::ModelFile(file) => file.name(),
            StoredModel::Checkpoint(checkpoint, _) => checkpoint.name(),
        }
    }

    /// config.json.
    pub fn config(&self) -> &Config {
        match &self.stored {
            StoredModel::ModelFile(file) => file.config(),
            StoredModel::Checkpoint(checkpoint, _) => checkpoint.config(),
        }
    }

    /// The texts beside the weights, and what they say.
    pub fn side_files(&self) -> &SideFiles {
        match &self.stored {
            StoredModel::ModelFile(file) => file.side_files(),
            StoredModel::Checkpoint(checkpoint, _) => checkpoint.side_files(),
        }
    }

    /// Formats of the matrices.
    pub fn weight_types(&self) -> &WeightTypes {
        match &self.stored {
            StoredModel::ModelFile(file) => file.weight_types(),
            StoredModel::Checkpoint(_, types) => types,
        }
    }

    /// Warnings for a person who is about to rely on this model.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The files that the model was made from. A checkpoint's are read whole for it, to hash them.
    pub fn provenance(&self) -> Provenance {
        match &self.stored {
            StoredModel::ModelFile(file) => Provenance {
                sources: file.sources().map(str::to_string),
                exporter: file.exporter().map(str::to_string),
            },
            StoredModel::Checkpoint(checkpoint, _) => {
                let sources = checkpoint.source_hashes(&mut |_| {});
                let sources = serde_json::json!(sources).to_string();
                Provenance { sources: Some(sources), exporter: Some(EXPORTER.to_string()) }
            }
        }
    }

    /// The graph: matrices in the formats of [`Model::weight_types`], norms, biases and adapters f32.
    pub fn graph(&self) -> Result<Graph> {
        let shapes = self.adapters.as_ref().map(|adapters| &adapters.shapes);
        decoder::graph(self.config(), shapes, &self.weight_types().declared())
    }
}

impl WeightSource for Model {
    fn tensor(&self, decl: &WeightDecl, layer: u32) -> std::result::Result<Tensor<'_>, WeightError> {
        if let Some(tensor) = self.adapters.as_ref().and_then(|adapters| adapters.tensor(decl, layer)) {
            return tensor;
        }
        match &self.stored {
            StoredModel::ModelFile(file) => named_tensors::tensor(&**file, decl, layer),
            StoredModel::Checkpoint(checkpoint, types) => {
                let name = decl.tensor_name(layer);
                let to = types.of_tensor(&name).unwrap_or(DType::F32);
                let tensor = convert::tensor(checkpoint, &name, (to, named_tensors::extent(decl)))
                    .map_err(|error| WeightError::Values(error.to_string()))?;
                named_tensors::declared(&name, tensor, decl)
            }
        }
    }
}
