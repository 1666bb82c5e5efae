//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use qwenc_models::{AdapterSource, Hints, Quant, RopeChoice};
use qwenc_plan::Activations;

/// Compiles a language model to one native executable that loads its weights and talks.
#[derive(Debug, Parser)]
#[command(
    name = "qwenc",
    version,
    after_help = "Examples:
  qwenc compile --target cpu sample -o qwen     the built-in sample model: nothing to download
  ./qwen generate \"The capital of Brazil is\"

  qwenc export Qwen3-0.6B/ -o model.bin --quant int8
  qwenc compile --target cpu model.bin -o qwen
  ./qwen chat"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn a Hugging Face checkpoint folder into one self-contained model.bin
    Export(Export),
    /// Show what a model.bin or checkpoint holds, and what is missing or odd
    Inspect(Inspect),
    /// Turn a file of an older program into a model.bin, or back, without rounding anything
    Migrate(Migrate),
    /// Compile a model to a native executable
    Compile(Compile),
    /// Check what a model holds, alone or against the checkpoint that it was made of
    Verify(Verify),
    /// Run two models on the same tokens and find the first activation that differs
    Compare(Compare),
    /// Measure how well a model predicts a text
    Perplexity(Perplexity),
}

/// How to store the weights.
#[derive(Clone, Debug, ClapArgs)]
pub struct Weights {
    /// Type of the weight matrices; by default the checkpoint's own
    #[arg(long, value_enum)]
    pub quant: Option<QuantName>,
    /// Inputs that share a scale, up to 65536; for int4 a multiple of 8 [default: 64 for int8, 32 for int4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(qwenc_models::MAX_GROUP)))]
    pub group_size: Option<u32>,
    /// Store embedding and LM head in 4 bits too, instead of 8 (int4 only)
    #[arg(long)]
    pub quant_embeddings: bool,
}

/// What is changed of the model before it is stored or compiled.
#[derive(Clone, Debug, ClapArgs)]
pub struct Changes {
    /// Merge a LoRA adapter, a folder of PEFT's, times a scale; may be given several times
    #[arg(long, value_name = "FOLDER[:SCALE]")]
    pub lora: Vec<String>,
    /// Scale RoPE in another way than config.json says: none, linear:FACTOR, dynamic:FACTOR, ntk:FACTOR,
    /// yarn:FACTOR[:ORIGINAL_CONTEXT] or llama3:FACTOR[:ORIGINAL_CONTEXT]
    #[arg(long, value_name = "RULE")]
    pub rope_scaling: Option<String>,
    /// Longest context of the model in tokens, instead of config.json's
    #[arg(long, value_name = "N")]
    pub context: Option<u32>,
}

impl Changes {
    /// The adapters.
    pub fn adapters(&self) -> Vec<AdapterSource> {
        self.lora.iter().map(|word| AdapterSource::of_word(word)).collect()
    }

    /// RoPE scaling and context.
    pub fn rope(&self) -> Result<RopeChoice, crate::Misuse> {
        RopeChoice::of_words(self.rope_scaling.as_deref(), self.context)
            .map_err(|e| crate::Misuse(e.to_string()))
    }
}

/// What is known of the model.
#[derive(Clone, Debug, ClapArgs)]
pub struct Stated {
    /// What an old file does not say: tokenizer=FILE, head_dim=N, group_size=N, tied=true, body=260
    #[arg(long, value_name = "KEY=VALUE")]
    pub state: Vec<String>,
}

impl Stated {
    /// What was stated of the file.
    pub fn hints(&self) -> Result<Hints, crate::Misuse> {
        Hints::of_words(self.state.iter().map(String::as_str)).map_err(|e| crate::Misuse(e.to_string()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QuantName {
    /// 4 bytes a weight, exact
    F32,
    /// 2 bytes a weight
    Bf16,
    /// 1 byte a weight, and a scale per group
    Int8,
    /// Half a byte a weight, and a scale per group
    Int4,
}

impl Weights {
    /// The chosen type, if one was.
    pub fn quant(&self) -> Result<Option<Quant>, crate::Misuse> {
        let misuse = |what: &str| Err(crate::Misuse(what.to_string()));
        if self.quant_embeddings && self.quant != Some(QuantName::Int4) {
            return misuse("--quant-embeddings goes with --quant int4");
        }
        let quant = match (self.quant, self.group_size) {
            (Some(QuantName::Int8), group) => Quant::I8 { group: group.unwrap_or(64) },
            (Some(QuantName::Int4), group) => {
                Quant::I4 { group: group.unwrap_or(32), embeddings: self.quant_embeddings }
            }
            (_, Some(_)) => return misuse("--group-size goes with --quant int8 or int4"),
            (Some(QuantName::F32), None) => Quant::F32,
            (Some(QuantName::Bf16), None) => Quant::Bf16,
            (None, None) => return Ok(None),
        };
        match quant.check() {
            Ok(()) => Ok(Some(quant)),
            Err(e) => misuse(&e.to_string()),
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct Export {
    /// Folder with config.json, *.safetensors and tokenizer.json; or `sample`
    pub checkpoint: PathBuf,
    /// The file to write
    #[arg(short, long, default_value = "model.bin")]
    pub output: PathBuf,
    #[command(flatten)]
    pub weights: Weights,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// What `compile` reads
    ModelBin,
    /// Qwen3 in int8, with a .tokenizer and templates beside it
    Ajc1,
}

#[derive(Debug, ClapArgs)]
pub struct Migrate {
    /// A file of an older program; with --to ajc1 a model.bin too
    pub model: PathBuf,
    /// What to turn it into
    #[arg(long, value_enum, default_value = "model-bin")]
    pub to: Format,
    /// The file to write [default: model.bin; none with --to ajc1]
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Debug, ClapArgs)]
pub struct Inspect {
    /// A model.bin, a checkpoint folder, or `sample`
    pub model: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Verify {
    /// A model.bin, a checkpoint folder, a file of another program, or `sample`
    pub model: PathBuf,
    /// The checkpoint that it was made of: every tensor is compared
    #[arg(long, value_name = "CHECKPOINT_DIR")]
    pub against: Option<PathBuf>,
    /// Largest relative error of a tensor that is let pass [default: what rounding to its type costs]
    #[arg(long, value_name = "X", requires = "against", value_parser = tolerance, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Debug, ClapArgs)]
pub struct Compare {
    /// The reference: a model file, a checkpoint folder, `sample`, a compiled executable, or a safetensors file of activations
    pub a: PathBuf,
    /// What is compared with it: any of these
    pub b: PathBuf,
    /// The input as token ids; a file of activations brings its own
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub tokens: Vec<u32>,
    /// The input as text
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens")]
    pub prompt: Option<String>,
    /// Relative error from which an activation may be out of line [default: 1e-4, or what the weights' types cost]
    #[arg(long, value_name = "X", value_parser = tolerance, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Debug, ClapArgs)]
pub struct Perplexity {
    /// A compiled executable, or a model to be compiled for this CPU first
    pub model: PathBuf,
    /// The text; `-` reads it from standard input
    pub text: PathBuf,
    /// Tokens that are read together [default: the model's longest context]
    #[arg(long, value_name = "N")]
    pub context: Option<u32>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub weights: Weights,
    #[command(flatten)]
    pub stated: Stated,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err("expected a number of 0 or more".to_string()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Native x86-64 code
    Cpu,
    /// Kernels for NVIDIA GPUs
    Cuda,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The executable
    Exe,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsPlace {
    /// Inside the executable
    Embed,
    /// In OUTPUT.weights beside it
    External,
}

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

#[derive(Debug, ClapArgs)]
pub struct Compile {
    /// A model.bin, a checkpoint folder, or `sample` for the built-in model
    pub model: PathBuf,
    /// What the executable runs on
    #[arg(long, value_enum, default_value = "cpu")]
    pub target: Target,
    /// The file to write; text goes to standard output without it [default: qwen]
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
    /// Print which rewrites fired, the costs, the graph before and after, and how fast the plan should run
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub weights: Weights,
    #[command(flatten)]
    pub changes: Changes,
    #[command(flatten)]
    pub stated: Stated,
}
