//! Checkpoint files to a graph and named weights; model.bin; the sample model.
//!
//! In: a Hugging Face folder or a model.bin. Out: [`Config`], texts, tensors by name and a
//! [`Graph`](qwenc_ir::Graph). Invariant: a file's counts, offsets and sizes are hostile until checked; what
//! cannot be run right is refused by name.

mod blocks;
mod checkpoint;
mod config;
mod dialogue;
mod error;
mod export;
mod family;
mod fields;
mod files;
mod header;
mod image;
mod inspect;
mod layout;
mod model_file;
mod quant;
mod qwen3;
mod rope;
mod shards;
mod stored;
mod tensor_stats;

pub use checkpoint::Checkpoint;
pub use config::Config;
pub use error::Error;
pub use export::{export, temporary_path, ExportReport, Progress};
pub use family::Family;
pub use inspect::{HeaderField, Inspection, MetadataEntry};
pub use model_file::ModelFile;
pub use quant::{Quant, MAX_GROUP};
pub use tensor_stats::TensorSummary;
