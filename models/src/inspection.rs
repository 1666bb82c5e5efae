//! Result of `qwenc inspect` for a file or folder.
//!
//! In: what [`inspect`](crate::inspect) found. Out: values that serialise as the JSON of `inspect --json`. Invariant: a field
//! is empty where the file says nothing of it.

use serde::Serialize;

use crate::config::Config;
use crate::problem::Problem;
use crate::tensor_stats::TensorSummary;

/// A header field of a model.bin, or a fact about a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeaderField {
    /// Name; docs/model-bin.md has those of a model.bin.
    pub name: &'static str,
    /// Value, as stored.
    pub value: String,
}

/// A fact.
pub(crate) fn fact(name: &'static str, value: impl Into<String>) -> HeaderField {
    HeaderField { name, value: value.into() }
}

/// The tensors of one type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeSummary {
    /// The type as stored: `bf16`, `i8`, `Q4_K`, ...
    pub dtype: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

/// A metadata entry of a model.bin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetadataEntry {
    /// The key.
    pub key: String,
    /// Bytes of its text.
    pub bytes: usize,
    /// The text, if short.
    pub text: Option<String>,
}

/// Contents of a file or folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Path of the file or folder.
    pub path: String,
    /// `model.bin version 3`, `Hugging Face checkpoint`, or another program's format.
    pub kind: &'static str,
    /// Size of the file, or of all weight files, in bytes.
    pub file_bytes: u64,
    /// Facts about the model, as far as the file says them.
    pub model: Vec<HeaderField>,
    /// The header's fields; empty for a folder.
    pub header: Vec<HeaderField>,
    /// SHA-256 that the header states.
    pub stated_hash: Option<String>,
    /// SHA-256 of the payload, where values were read.
    pub computed_hash: Option<String>,
    /// Metadata of the payload, by key.
    pub metadata: Vec<MetadataEntry>,
    /// Values in all tensors, scales not counted; two for each byte of int4, whose odd rows have a spare half.
    pub parameters: u64,
    /// Types of the tensors, the one of most bytes first.
    pub types: Vec<TypeSummary>,
    /// In the order of their bytes.
    pub tensors: Vec<TensorSummary>,
    /// Problems: reasons for which the model is refused.
    pub problems: Vec<Problem>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// Model configuration, if it could be read.
    #[serde(skip)]
    pub config: Option<Config>,
    /// The largest id of the vocabulary, where there is one.
    #[serde(skip)]
    pub largest_id: Option<u64>,
}
