//! Flags of `compile`, which are the library's options too.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, FromArgMatches, ValueEnum};
use qwenc_models::AdapterSource;
use qwenc_plan::Activations;

use super::{Changes, Stated, Weights};

/// What the result runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Native x86-64 code
    Cpu,
    /// Kernels for NVIDIA GPUs
    Cuda,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The executable
    Exe,
    /// A shared library, and qwen.h beside it
    Lib,
    /// The optimised graph, as text
    Graph,
    /// The saturated e-graphs of block and head, for Graphviz
    EgraphDot,
    /// Kernels and memory, as text
    Plan,
    /// LLVM IR of all kernels
    LlvmIr,
    /// Assembly
    Asm,
    /// The relocatable object file
    Obj,
    /// CUDA C++ of all kernels
    Cuda,
    /// PTX of all kernels, for the newest of --sm
    Ptx,
    /// Machine code of all kernels for the newest of --sm
    Cubin,
}

/// Where weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsPlace {
    /// Inside the executable
    Embed,
    /// In OUTPUT.weights beside it
    External,
}

/// What a KV cache stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvName {
    /// 4 bytes an element, exact
    F32,
    /// 2 bytes an element
    Bf16,
    /// 1 byte an element, and a scale for each head's key and value
    Int8,
}

impl KvName {
    /// As the metadata spells it.
    pub fn name(self) -> &'static str {
        match self {
            KvName::F32 => "f32",
            KvName::Bf16 => "bf16",
            KvName::Int8 => "int8",
        }
    }
}

/// Precision of the inputs of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ActivationsName {
    /// The most exact: as computed, or 16 bits where int8 weights ask for integers
    F32,
    /// With bf16 weights: faster prompts, an error of bf16
    Bf16,
    /// With int8 weights: faster prompts, twice the error of the weights; with int4 weights: in the LM head too
    Int8,
}

impl ActivationsName {
    /// As the plan calls it.
    pub fn choice(self) -> Activations {
        match self {
            ActivationsName::F32 => Activations::F32,
            ActivationsName::Bf16 => Activations::Bf16,
            ActivationsName::Int8 => Activations::Int8,
        }
    }
}

/// 90 for 9.0.
fn compute_capability(text: &str) -> Result<u32, String> {
    let expected = "expected a compute capability without its point, such as 90 for 9.0";
    text.parse().map_err(|_| expected.to_string())
}

/// What to compile, and how; [`Options::new`](crate::Options::new) has the defaults.
#[derive(Clone, Debug, ClapArgs)]
pub struct Compile {
    /// A model.bin, a checkpoint folder, or `sample` for the built-in model
    pub model: PathBuf,
    /// What the executable runs on
    #[arg(long, value_enum, default_value = "cpu")]
    pub target: Target,
    /// The file to write; text goes to standard output without it [default: qwen, or libqwen.so]
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// CPU to generate code for: native (this machine), x86-64, x86-64-v2, x86-64-v3, x86-64-v4, or a
    /// model such as haswell, icelake-server, znver4 [default: native]
    #[arg(long, value_name = "NAME")]
    pub cpu: Option<String>,
    /// Compute capabilities to generate CUDA code for, without their points; later ones run the code of the
    /// newest [default: 80,86,89,90,100,120]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = compute_capability)]
    pub sm: Option<Vec<u32>>,
    /// Where the weights go
    #[arg(long = "weights", value_enum, default_value = "embed")]
    pub place: WeightsPlace,
    /// What the executable's KV cache stores unless it is told otherwise [default: bf16 for int8 and int4
    /// weights, else f32]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub kv_type: Option<KvName>,
    /// Precision of the inputs of matrix products [default: f32; with int8 weights 16 bits, but int8 in the MLP;
    /// with int4 weights int8]
    #[arg(long, value_name = "TYPE", value_enum)]
    pub activations: Option<ActivationsName>,
    /// What to write
    #[arg(long, value_enum, default_value = "exe")]
    pub emit: Emit,
    /// Keep a LoRA adapter beside the weights, to be chosen by NAME while the model runs; may be given several times
    #[arg(long, value_name = "NAME=FOLDER[:SCALE]")]
    pub lora_runtime: Vec<String>,
    /// Print which rewrites fired, the costs, the graph before and after, and how fast the plan should run
    #[arg(long)]
    pub explain: bool,
    /// How to store the weights
    #[command(flatten)]
    pub weights: Weights,
    /// What is changed of the model.
    #[command(flatten)]
    pub changes: Changes,
    /// What is known of the model.
    #[command(flatten)]
    pub stated: Stated,
}

impl Compile {
    /// Adapters to keep beside the weights, by name.
    pub(crate) fn kept(&self) -> Result<Vec<(String, AdapterSource)>, crate::Misuse> {
        let one = |word: &String| match word.split_once('=') {
            Some((name, folder)) if !name.is_empty() && !folder.is_empty() => {
                Ok((name.to_string(), AdapterSource::of_word(folder)))
            }
            _ => Err(crate::Misuse(format!("--lora-runtime: expected NAME=FOLDER, found {word:?}"))),
        };
        self.lora_runtime.iter().map(one).collect()
    }

    /// Everything as the command does it when nobody says otherwise, for this machine's CPU.
    pub fn new(model: impl Into<PathBuf>) -> Compile {
        let words = [OsString::from("compile"), "--".into(), model.into().into()];
        let command = Compile::augment_args(clap::Command::new("compile"));
        let parsed = command.try_get_matches_from(words).and_then(|m| Compile::from_arg_matches(&m));
        // Every flag has a default or may be absent, and any path is a model's.
        parsed.unwrap_or_else(|e| unreachable!("{e}"))
    }
}
