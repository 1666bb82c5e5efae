//! Everything that can go wrong in an executable, as one enum.
//!
//! In: facts at the point of failure. Out: a message that names the thing, what was expected, what
//! was found and what to do, and an exit code. Invariant: only `run` prints errors. Users and snapshots
//! read these words; a new way to fail is a new variant.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or argument has a value that cannot be used; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// Verb of the attempt: "open", "write", …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Reading standard input or writing standard output failed.
    #[error("cannot {action}: {source}")]
    Stream {
        /// Verb phrase of the attempt.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The executable carries no image and there is none beside it.
    #[error(
        "no weights: {executable} does not end with a weights image (was it stripped or cut short?) \
         and there is no {beside}; put that file there, pass --weights FILE, or compile again"
    )]
    NoImage {
        /// The executable.
        executable: PathBuf,
        /// Path of an external image.
        beside: PathBuf,
    },
    /// The file that should be an image is not one.
    #[error("{path} is not a usable weights image: {found}; copy the file again, or compile again")]
    BadImage {
        /// Which file.
        path: PathBuf,
        /// Description of the file that was found.
        found: String,
    },
    /// Image and code do not belong together.
    #[error(
        "the weights image in {path} was not made for this executable: {what} is {found}, expected \
         {expected}; use the image that `qwenc compile` wrote together with this executable"
    )]
    Stranger {
        /// Which file.
        path: PathBuf,
        /// Name of the property that differs.
        what: &'static str,
        /// The code's side.
        expected: String,
        /// The image's side.
        found: String,
    },
    /// The generated code speaks another version of the interface.
    #[error("the model's code has interface version {found}, this runtime has {expected}; compile again")]
    AbiVersion {
        /// Version of the runtime.
        expected: u32,
        /// Value that the code has.
        found: u32,
    },
    /// The processor lacks instructions that the code uses.
    #[error(
        "this processor lacks {missing}, which this executable was compiled for ({wanted}); recompile \
         on this machine with `qwenc compile --cpu native`, or for a lower level, e.g. `--cpu \
         x86-64-v3` or `--cpu x86-64`"
    )]
    Cpu {
        /// Missing features, comma-separated.
        missing: String,
        /// All that is needed, comma-separated.
        wanted: String,
    },
    /// The image's metadata cannot be read.
    #[error("the image's metadata is not the expected JSON object: {0}; compile again")]
    Metadata(serde_json::Error),
    /// The image wants a KV cache that this runtime does not have.
    #[error(
        "the image's metadata asks for a KV cache of type {found:?}, expected f32, bf16 or int8; pass --kv-type, \
         or compile again"
    )]
    KvType {
        /// Type that the metadata names.
        found: String,
    },
    /// The tokenizer cannot be loaded.
    #[error(
        "the image's tokenizer cannot be loaded: {0}; compile the model again, from a whole tokenizer.json"
    )]
    Tokenizer(String),
    /// The image has no tokenizer, so text has no meaning.
    #[error(
        "this executable has no tokenizer, so it cannot {action}; compile the checkpoint again with its tokenizer.json \
         (without one, generate and logits take token ids: --tokens 1,2,3)"
    )]
    NoTokenizer {
        /// Action that needs a tokenizer.
        action: &'static str,
    },
    /// Chat without a chat template.
    #[error("this model has no chat template, so it cannot chat; use `generate` with a plain prompt")]
    NoTemplate,
    /// The chat template failed.
    #[error("the model's chat template failed: {0}")]
    Template(String),
    /// A token id outside of the vocabulary.
    #[error("token {token} is out of range: this model has tokens 0 to {last}")]
    TokenRange {
        /// The id.
        token: u32,
        /// The largest valid id.
        last: u32,
    },
    /// The sequence does not fit.
    #[error(
        "the context is full: {needed} tokens are needed and it holds {limit}; {}", more_context(*limit, *most)
    )]
    ContextFull {
        /// Tokens that the sequence would have.
        needed: usize,
        /// Tokens that fit.
        limit: usize,
        /// The model's own maximum.
        most: usize,
    },
    /// Memory could not be reserved.
    #[error("cannot reserve {bytes} bytes for the {what}: {source}; lower {flag}")]
    Memory {
        /// Purpose of the memory.
        what: &'static str,
        /// Size.
        bytes: u64,
        /// Which flag makes it smaller.
        flag: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start worker thread {index}: {source}; lower --threads")]
    Thread {
        /// Which one.
        index: usize,
        /// The system's word.
        source: io::Error,
    },
    /// A thread could not be kept on a CPU.
    #[error("cannot keep a thread on CPU {cpu}: {source}; leave --pin away")]
    Pin {
        /// Which one.
        cpu: usize,
        /// The system's word.
        source: io::Error,
    },
    /// The model computed something that is no number.
    #[error(
        "the model computed {value} as the logit of token {token}; the weights are damaged (run \
         `verify`) or the compiled code is wrong (please report it)"
    )]
    BadLogit {
        /// The value.
        value: f32,
        /// Whose logit.
        token: usize,
    },
    /// The model made of a text what has no direction.
    #[error(
        "the model's last hidden state has the length {length}; the weights are damaged (run `verify`) or the compiled \
         code is wrong (please report it)"
    )]
    BadState {
        /// Its length.
        length: f64,
    },
    /// Every token is excluded.
    #[error("no token can be sampled: all logits are -inf or all tokens are excluded")]
    NothingToSample,
    /// An answer cannot be kept to what was asked.
    #[error("the answer cannot be kept to this format: {why}; simplify it")]
    Constraint {
        /// Reason.
        why: String,
    },
    /// More is asked at a time than the server does.
    #[error("{what}, as many as this server takes at a time; try again later")]
    Busy {
        /// Resource that is short.
        what: String,
    },
    /// An answer that must keep to a format cannot go on.
    #[error("the answer came to where its format allows nothing: {why}; ask again, or loosen the format")]
    DeadEnd {
        /// Why.
        why: String,
    },
    /// The server cannot have its address.
    #[error("cannot listen on {address}: {source}; choose another --host or --port")]
    Listen {
        /// The address.
        address: String,
        /// The system's word.
        source: io::Error,
    },
    /// The server cannot start.
    #[error("cannot start the server: {reason}")]
    Server {
        /// Why.
        reason: String,
    },
    /// `verify` found a difference.
    #[error("the {what} is damaged: its SHA-256 is {found}, expected {expected}; copy the file again")]
    Damaged {
        /// Name of the hashed part.
        what: &'static str,
        /// Value that the code has.
        expected: String,
        /// Recomputed.
        found: String,
    },
    /// No driver for GPUs.
    #[error(
        "no CUDA driver found (libcuda.so.1): install NVIDIA's driver, or name its folder in LD_LIBRARY_PATH \
         where it stands in one of its own; without a GPU compile with `qwenc compile --target cpu`"
    )]
    NoDriver,
    /// The driver is older than the code.
    #[error(
        "the CUDA driver is too old: it knows CUDA {found}, and {needed} is needed; update NVIDIA's driver, or \
         compile again with an older NVRTC"
    )]
    DriverTooOld {
        /// CUDA version of the driver, such as "12.4".
        found: String,
        /// CUDA version that the code needs.
        needed: String,
    },
    /// A driver, but no device.
    #[error(
        "no GPU found: {reason}; see what `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES say, or compile \
         with `qwenc compile --target cpu`"
    )]
    NoGpu {
        /// Why.
        reason: String,
    },
    /// No such device; exit code 2.
    #[error("--device {wanted} is out of range: this machine has {devices}")]
    DeviceRange {
        /// The number asked for.
        wanted: usize,
        /// Numbers and names.
        devices: String,
    },
    /// No machine code for this device.
    #[error(
        "{device} is an sm_{sm} device and this executable has code for {code}; compile again with \
         `qwenc compile --target cuda --sm {sm}`, or choose another with --device"
    )]
    Architecture {
        /// Its name.
        device: String,
        /// Its architecture.
        sm: u32,
        /// Architectures with machine code.
        code: String,
    },
    /// The device's memory is too small, or taken.
    #[error(
        "the {what} needs {needed} of GPU memory, and {device} has {free} free of {all}; lower --context or \
         --chunk, choose a smaller --kv-type, or end what else uses the GPU (`nvidia-smi` shows it)"
    )]
    GpuMemory {
        /// Purpose of the memory.
        what: String,
        /// The device.
        device: String,
        /// Size.
        needed: String,
        /// Free memory.
        free: String,
        /// Memory of the device.
        all: String,
    },
    /// The driver refused something else.
    #[error("the CUDA driver could not {action}: {name} ({meaning})")]
    Driver {
        /// Verb phrase of the attempt.
        action: &'static str,
        /// The driver's error.
        name: String,
        /// In words.
        meaning: String,
    },
    /// The executable's kernels cannot be read.
    #[error(
        "this executable's CUDA code is damaged or wrong: {found}; copy the file again, or compile again"
    )]
    BadBundle {
        /// Description of the damage.
        found: String,
    },
    /// A bug of this crate's, found where it may not end the process.
    #[error("internal error: {0}; this is a bug, please report it")]
    Internal(String),
    /// A file could not be encoded.
    #[error("cannot encode {what}: {reason}")]
    Encode {
        /// Name of the file's content.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// Advice for a full context, with the longest context that the model allows.
pub fn more_context(limit: usize, most: usize) -> String {
    if limit < most {
        format!("shorten the input, or start with --context up to {most}")
    } else {
        "shorten the input: this model handles no more".into()
    }
}

impl Error {
    /// The process exit code: 2 for usage, 1 otherwise.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Usage(_) | Error::TokenRange { .. } | Error::DeviceRange { .. } => 2,
            _ => 1,
        }
    }

    /// Whether it is about one line of a conversation, which can go on without it.
    pub fn is_about_a_line(&self) -> bool {
        matches!(
            self,
            Error::ContextFull { .. }
                | Error::Template(_)
                | Error::Usage(_)
                | Error::File { .. }
                | Error::Encode { .. }
        )
    }

    /// Whether the reader of our output went away, which is no error to report.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { action, path, source }
    }

    /// For `map_err` on writes to standard output or error.
    pub fn output(source: io::Error) -> Error {
        Error::Stream { action: "write the output", source }
    }

    /// For `map_err` on reads from standard input.
    pub fn input(source: io::Error) -> Error {
        Error::Stream { action: "read standard input", source }
    }
}
