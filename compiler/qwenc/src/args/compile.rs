//! Flags of `compile`, which are the library's options too.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args as ClapArgs, Command, FromArgMatches, ValueEnum};
use qwenc_abi::KvType;
use qwenc_models::AdapterSource;
use qwenc_plan::Activations;

use super::{Changes, ModelPath, Stated, Weights};

/// Processors that the result runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Native x86-64 code
    Cpu,
    /// Kernels for NVIDIA GPUs of compute capability 8.0 and later
    Cuda,
}

/// Reads a target; a word that people use for GPUs gets `cuda` as the suggestion.
#[derive(Clone)]
struct TargetParser;

impl TypedValueParser for TargetParser {
    type Value = Target;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Target, clap::Error> {
        EnumValueParser::<Target>::new().parse_ref(command, arg, value).map_err(|mut error| {
            if ["gpu", "nvidia", "ptx"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
                error.insert(ContextKind::SuggestedValue, ContextValue::String("cuda".to_string()));
            }
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Target::value_variants().iter().filter_map(Target::to_possible_value)))
    }
}

/// Output of `compile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// An executable
    Exe,
    /// A shared library, with its C header qwen.h beside it
    Lib,
    /// The optimised graph, as text
    Graph,
    /// The saturated e-graphs of block and head, for Graphviz
    EgraphDot,
    /// Kernels and memory, as text
    Plan,
    /// CPU: LLVM IR of all kernels
    LlvmIr,
    /// CPU: assembly of all kernels
    Asm,
    /// CPU: the relocatable object file
    Obj,
    /// GPU: CUDA C++ of all kernels
    Cuda,
    /// GPU: PTX of all kernels for the newest architecture of --sm
    Ptx,
    /// GPU: machine code of all kernels for the newest architecture of --sm
    Cubin,
}

/// Place of the weights image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsPlace {
    /// Inside the executable
    Embed,
    /// In the file OUTPUT.weights beside the executable
    External,
}

/// Program that links an executable or a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkerName {
    /// The linker inside qwenc, which needs nothing installed
    Wild,
    /// The system's C compiler: the one that the variable CC names, else cc
    Cc,
}

/// Element type of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvName {
    /// 4 bytes an element, exact
    F32,
    /// 2 bytes an element
    Bf16,
    /// 1 byte an element, and one scale for each key and each value
    Int8,
}

/// Precision of the inputs of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ActivationsName {
    /// The most exact: f32, or 16-bit integers for integer weights
    F32,
    /// For bf16 weights: prompts 1.7 times as fast, inputs rounded to bf16
    Bf16,
    /// For int8 and int4 weights: prompts 1.3 times as fast, inputs rounded to 8 bits
    Int8,
}

impl ActivationsName {
    /// The plan's value of this choice.
    pub fn choice(self) -> Activations {
        match self {
            ActivationsName::F32 => Activations::F32,
            ActivationsName::Bf16 => Activations::Bf16,
            ActivationsName::Int8 => Activations::Int8,
        }
    }
}

/// Parses a compute capability: `90` for 9.0.
fn compute_capability(text: &str) -> Result<u32, String> {
    let expected = "expected a compute capability without its point, such as 90 for 9.0";
    text.parse().map_err(|_| expected.to_string())
}

/// Flags of `compile`, which are the library's options; [`Options::new`](crate::Options::new) has the defaults.
#[derive(Clone, Debug, ClapArgs)]
pub struct Compile {
    /// The model to compile.
    #[command(flatten)]
    pub model: ModelPath,
    /// Processors to compile for (default: cpu)
    #[arg(long, value_parser = TargetParser, default_value = "cpu", hide_default_value = true)]
    pub target: Target,
    /// File to write (default: qwen; libqwen.so with --emit lib; levels that are text go to standard output, machine
    /// code too if that is a file or a pipe)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// CPU to generate code for: native is this machine; x86-64-v3 runs on most PCs since 2015; also x86-64,
    /// x86-64-v2, x86-64-v4, or a CPU's name such as haswell, icelake-server, znver4 (default: native)
    #[arg(long, value_name = "NAME")]
    pub cpu: Option<String>,
    /// With --target cuda: compute capabilities to generate machine code for, such as 80,90. Later GPUs compile the
    /// PTX of the newest one (default: 80,86,89,90,100,120)
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true, value_parser = compute_capability)]
    pub sm: Option<Vec<u32>>,
    /// Place of the weights (default: embed)
    #[arg(long = "weights", value_enum, default_value = "embed", hide_default_value = true)]
    pub place: WeightsPlace,
    /// Default type of the executable's KV cache (default: bf16 for int8 and int4 weights, else f32)
    #[arg(long, value_name = "TYPE", value_enum)]
    pub kv_type: Option<KvName>,
    /// Precision of the inputs of matrix products (default: f32 for f32 and bf16 weights; 16 bits, in the MLP 8 bits,
    /// for int8 weights; 8 bits for int4 weights)
    #[arg(long, value_name = "TYPE", value_enum)]
    pub activations: Option<ActivationsName>,
    /// Kind of output (default: exe)
    #[arg(long, value_enum, default_value = "exe", hide_default_value = true)]
    pub emit: Emit,
    /// Use the shared C library of the machine that runs the executable. Libraries and CUDA executables always do;
    /// other executables need no other file without this flag
    #[arg(long)]
    pub dynamic: bool,
    /// Leave the server out of the executable, which is smaller without it
    #[arg(long)]
    pub no_serve: bool,
    /// Program that links (default: wild, and cc where wild fails)
    #[arg(long, value_name = "NAME", value_enum)]
    pub linker: Option<LinkerName>,
    /// Print the rewrites that fired, their costs, the graph before and after, and the predicted speed
    #[arg(long)]
    pub explain: bool,
    /// Include a runtime LoRA adapter, selected by NAME when the executable runs. May be given several times
    #[arg(long, value_name = "NAME=FOLDER[:SCALE]")]
    pub lora_runtime: Vec<String>,
    /// Storage type of the weights.
    #[command(flatten)]
    pub weights: Weights,
    /// Changes to the model.
    #[command(flatten)]
    pub changes: Changes,
    /// Facts that the model's file lacks.
    #[command(flatten)]
    pub stated: Stated,
}

impl Compile {
    /// Element type of the KV cache that `--kv-type` names.
    pub(crate) fn kv(&self) -> Option<KvType> {
        self.kv_type.map(|name| match name {
            KvName::F32 => KvType::F32,
            KvName::Bf16 => KvType::Bf16,
            KvName::Int8 => KvType::I8,
        })
    }

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

    /// The defaults of the command line: an executable for this machine's CPU.
    pub fn new(model: impl Into<PathBuf>) -> Compile {
        let words = [OsString::from("compile"), "--".into(), model.into().into()];
        let command = Compile::augment_args(clap::Command::new("compile"));
        let parsed = command.try_get_matches_from(words).and_then(|m| Compile::from_arg_matches(&m));
        // Every flag has a default or may be absent, and any path is a model's.
        parsed.unwrap_or_else(|e| unreachable!("{e}"))
    }
}
