//! Checkpoints of all formats to a graph and named weights; model.bin; the sample model.
//!
//! In: a Hugging Face folder, a file of another program, or a model.bin. Out: [`Config`], texts, tensors by
//! name and a [`Graph`](qwenc_ir::Graph). Invariant: a file's counts, offsets and sizes are hostile until checked; what
//! cannot be run right is refused by name.

// config.json: what a model is.
mod config;
mod config_reader;
mod family;
mod json_fields;
mod rope;
mod rope_override;
mod strict_json;

// The model written down as a graph, and the tensors that it reads.
mod decoder;
mod families;
mod graph_builder;
mod runtime_lora;
mod tensor_names;
mod tensor_order;
mod tensor_spec;

// A Hugging Face folder.
mod added_tokens;
mod checkpoint;
mod files;
mod folder;
mod folder_problem;
mod model_name;
mod open;
mod pooling;
mod sampling;
mod shards;
mod side_files;
mod side_keys;
mod template_files;
mod texts;

// A model.bin: reading and writing one.
mod convert;
mod export;
mod group_rule;
mod header;
mod metadata;
mod model;
mod model_file;
mod own_types;
mod payload_layout;
mod quant;
mod temporary;
mod types_by_role;
mod weight_types;

// What is added to a checkpoint's weights.
mod adapter;

// Files of other programs.
mod import;
mod packing;
mod source;
mod stranger;
mod weights;

// Back to a file of another program.
mod migrate;
mod old_template;
mod origin;

// What all have: safetensors, tensors by name.
mod named_tensors;
mod payload;
mod stored_types;
mod tensor_check;

// A lenient look at either.
mod facts;
mod inspect;
mod inspect_text;
mod inspection;
mod problem;
mod range_check;
mod tensor_stats;

mod error;

pub use adapter::{AdapterProblem, AdapterSource, MergeReport};
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use error::Error;
pub use export::{export, ExportReport, Progress};
pub use family::Family;
pub use folder_problem::FolderProblem;
pub use group_rule::MAX_GROUP;
pub use import::Hints;
pub use inspection::{HeaderField, Inspection, MetadataEntry, TypeSummary};
pub use migrate::{migrate, to_ajc1, MigrateReport};
pub use model::{Model, Provenance};
pub use model_file::ModelFile;
pub use problem::{Check, Problem};
pub use quant::Quant;
pub use rope_override::RopeChoice;
pub use sampling::Sampling;
pub use side_files::SideFiles;
pub use side_keys::{side_keys, SideKey, Treatment};
pub use source::Source;
pub use tensor_check::Look;
pub use tensor_stats::TensorSummary;
pub use weight_types::WeightTypes;
