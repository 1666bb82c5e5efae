//! Why a checkpoint or a model.bin is refused. In: what was found. Out: one message.
//!
//! Invariant: each message names the thing, what was expected, what was found, and what to do. Users and
//! snapshots read these words; a new way to fail is a new variant with fields, not a text put together
//! where it fails.

use std::path::PathBuf;

use qwenc_formats::DType;
use qwenc_ir::ShapeError;

use crate::adapter::problem::AdapterProblem;
use crate::folder_problem::FolderProblem;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// `open`, `read`, `create`, ...
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A text file larger than any real one.
    #[error("{file}: expected at most {limit} bytes, found {found}; is this the right file?")]
    TooLarge {
        /// The file.
        file: String,
        /// Largest size accepted, in bytes.
        limit: u64,
        /// Its size in bytes.
        found: u64,
    },
    /// A text file that is not UTF-8.
    #[error("{file}: expected UTF-8 text, found other bytes at offset {offset}; write it again as UTF-8")]
    NotText {
        /// The file.
        file: String,
        /// Bytes before the first bad one.
        offset: usize,
    },
    /// A folder that is no whole checkpoint.
    #[error(transparent)]
    Folder(#[from] FolderProblem),
    /// A key that an object has twice.
    #[error("{file}: key {key}: expected once, found twice; remove one of the two")]
    KeyTwice {
        /// The file.
        file: String,
        /// The key, after the keys that lead to it.
        key: String,
    },
    /// Text that is not JSON.
    #[error("{file}: expected JSON, found an error: {source}; fetch the file again")]
    Json {
        /// The file.
        file: String,
        /// Place and reason.
        source: serde_json::Error,
    },
    /// A folder without weights.
    #[error("{}: expected model.safetensors or model.safetensors.index.json, found neither; {hint}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// Advice.
        hint: String,
    },
    /// A shard that the index names and the folder lacks.
    #[error(
        "{}: not found, but {} says that it holds {tensors} tensors; fetch the missing shard",
        shard.display(), index.display()
    )]
    MissingShard {
        /// The shard.
        shard: PathBuf,
        /// The index file.
        index: PathBuf,
        /// Tensors that the index places in it.
        tensors: usize,
    },
    /// A shard name that would leave the folder.
    #[error(
        "{}: shard name {shard:?}: expected a plain file name ending in .safetensors; correct the index",
        index.display()
    )]
    ShardName {
        /// The index file.
        index: PathBuf,
        /// The name.
        shard: String,
    },
    /// A tensor that is not in the shard that the index names.
    #[error("{}: tensor {tensor} is not there, but {} says so; fetch both files again", shard.display(), index.display())]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: PathBuf,
        /// The index file.
        index: PathBuf,
    },
    /// A tensor in two shards.
    #[error("tensor {tensor}: found in both {first} and {second}; remove one of the two")]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A file that is not a valid safetensors image.
    #[error("{file}: not a valid safetensors image: {reason}; fetch or write the file again")]
    Payload {
        /// The file.
        file: String,
        /// Reason by the format's checker.
        reason: String,
    },
    /// A field of a JSON file that has no meaning.
    #[error("{file}: {field}: expected {expected}, found {found}; correct the file")]
    Field {
        /// The file.
        file: String,
        /// The field, with its path.
        field: String,
        /// Required value.
        expected: String,
        /// Found value.
        found: String,
    },
    /// A model that asks for what this compiler does not do.
    #[error("{file}: {what} is not supported (supported: {supported})")]
    Unsupported {
        /// The file.
        file: String,
        /// The thing asked for.
        what: String,
        /// Supported alternative.
        supported: String,
    },
    /// The tensors are those of another family.
    #[error(
        "{file}: config.json says {config}, but the tensors are {tensors}; do config.json and weights belong together?"
    )]
    AnotherFamily {
        /// The file or folder.
        file: String,
        /// The architecture that config.json names.
        config: &'static str,
        /// Family that the names of the tensors show.
        tensors: String,
    },
    /// A tensor that the config implies and the file lacks.
    #[error("{file}: tensor {tensor}: expected {expected}, found no such tensor{hint}")]
    MissingTensor {
        /// The file or folder.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        expected: String,
        /// Advice, where more can be said.
        hint: &'static str,
    },
    /// A tensor whose shape or type is not what the config implies.
    #[error("{file}: tensor {tensor}: expected {expected}, found {found}; do config.json and weights belong together?")]
    TensorMismatch {
        /// The file or folder.
        file: String,
        /// The tensor.
        tensor: String,
        /// Shape or types that it must have.
        expected: String,
        /// Shape and type that it has.
        found: String,
    },
    /// A tensor that no part of the model would read.
    #[error(
        "{file}: tensor {tensor} {found}: no {architecture} model of this config.json has it; \
         do config.json and weights belong together?"
    )]
    UnexpectedTensor {
        /// The file or folder.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its type and shape.
        found: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// Config and weights disagree about tying.
    #[error(
        "{file}: config.json says tie_word_embeddings = true, but lm_head.weight ({lm_head}) is not \
         model.embed_tokens.weight ({embedding}); set tie_word_embeddings to false, or remove lm_head.weight"
    )]
    TiedHead {
        /// The file or folder.
        file: String,
        /// Type, shape and first differing value of the one.
        lm_head: String,
        /// And of the other.
        embedding: String,
    },
    /// NaN or infinity where a number is needed.
    #[error("{file}: tensor {tensor}: expected finite numbers, found {found} in row {row}; fetch or write the file again")]
    NotFinite {
        /// The file or folder.
        file: String,
        /// The tensor.
        tensor: String,
        /// Row.
        row: u64,
        /// The value.
        found: f32,
    },
    /// An integer that int8 weights do not have.
    #[error("tensor {tensor}: expected integers of -127 to 127, found -128 in row {row}; export with --quant int8")]
    Integer {
        /// The tensor.
        tensor: String,
        /// Row.
        row: u64,
    },
    /// A value that no f16 scale reaches.
    #[error(
        "tensor {tensor}: expected values of at most {limit} for {}, whose scales are f16, found {found}; \
         export it as int8",
        dtype.words()
    )]
    BeyondScale {
        /// The tensor.
        tensor: String,
        /// The type wanted.
        dtype: DType,
        /// Largest magnitude that can be stored.
        limit: f32,
        /// Largest magnitude.
        found: f32,
    },
    /// A group size that cannot be.
    #[error("group size: expected {expected}, found {found}; use 32 or 64")]
    Group {
        /// Those that can be.
        expected: String,
        /// Requested value.
        found: u32,
    },
    /// A file whose size does not tell what its header leaves out.
    #[error(
        "{}: head_dim, group size, tying and body offset are not stored: expected one answer that gives {bytes} bytes, \
         found {fits}; state what you know, as in --state head_dim=128", path.display()
    )]
    Unstated {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The answers.
        fits: String,
    },
    /// A word about a file that is not understood.
    #[error(
        "what is stated of the file: expected tokenizer=FILE, head_dim=N, group_size=N, tied=true or false, \
         body=256 or 260, found {found:?}"
    )]
    Hint {
        /// The word.
        found: String,
    },
    /// A RoPE scaling in words that are not understood.
    #[error(
        "RoPE scaling: expected none, linear:FACTOR, dynamic:FACTOR, ntk:FACTOR, yarn:FACTOR[:ORIGINAL_CONTEXT] or \
         llama3:FACTOR[:ORIGINAL_CONTEXT] with a factor of at least 1, and a context of 1 to 268435456, found {found:?}"
    )]
    RopeChoice {
        /// The words.
        found: String,
    },
    /// A longest context that no model has.
    #[error("--context: expected 1 to {most} tokens, found {found}")]
    ContextChoice {
        /// Requested value.
        found: u32,
        /// The longest that there may be.
        most: u32,
    },
    /// An adapter that cannot be merged.
    #[error("{file}: {problem}")]
    Adapter {
        /// The file or folder.
        file: String,
        /// Why.
        problem: AdapterProblem,
    },
    /// The metadata is larger than a safetensors header may be.
    #[error("{}: safetensors header: expected at most {limit} bytes, found {found}; use a smaller tokenizer.json", path.display())]
    HeaderTooLarge {
        /// The file being written.
        path: PathBuf,
        /// Largest, in bytes.
        limit: u64,
        /// Its size in bytes.
        found: u64,
    },
    /// A file whose weights no model.bin holds as they are.
    #[error("{file}: {note}, and migrate rounds nothing; use qwenc export")]
    WouldRound {
        /// The file.
        file: String,
        /// Rounding that would be needed.
        note: String,
    },
    /// A file that is something else.
    #[error("{}: expected a model, found {found}; {hint}", path.display())]
    NotModelFile {
        /// The file.
        path: PathBuf,
        /// Format that its first bytes show.
        found: String,
        /// Advice.
        hint: &'static str,
    },
    /// A model.bin where something to export is wanted.
    #[error("{}: expected a checkpoint, found a model.bin; it is exported already: compile it", path.display())]
    AlreadyExported {
        /// The file.
        path: PathBuf,
    },
    /// A version that this program does not read.
    #[error("{}: model.bin version: expected 2 or 3, found {found}; export it again with this qwenc", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A file that ends early or goes on too long.
    #[error("{}: expected {expected} bytes, found {found}; the file was cut or changed: export or copy it again", path.display())]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Size that its header states.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// A header field that disagrees with the rest of the file.
    #[error("{}: header field {field} at offset {offset}: expected {expected}, found {found}; export it again", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Offset in bytes.
        offset: usize,
        /// Value in config.json or the tensors.
        expected: String,
        /// Value in the header.
        found: String,
    },
    /// A payload that is not what was written.
    #[error("{}: payload SHA-256: expected {expected}, found {found}; the file was changed: export or copy it again", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// Hash that the header states.
        expected: String,
        /// Hash of the bytes.
        found: String,
    },
    /// A model.bin without a part that it must carry.
    #[error("{file}: safetensors metadata: expected key {key:?}, found none; export it again")]
    MissingMetadata {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
    },
    /// A disk without room for the result.
    #[error(transparent)]
    NoRoom(#[from] qwenc_files::NoRoom),
    /// Stored bytes do not fit their tensor.
    #[error("{0}; report this as a bug")]
    Weight(#[from] qwenc_formats::WeightError),
    /// The graph built from a config broke a shape law.
    #[error("the graph of this config.json breaks a shape law: {0}; report this as a bug")]
    Shape(#[from] ShapeError),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
