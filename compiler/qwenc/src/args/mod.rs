//! The command line, and the options of the library: they are one.
//!
//! In: arguments. Out: what they say: here what several commands take, the rest in `compile` and `faults`. Invariant:
//! what a flag means is told here and nowhere else in the code.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use qwenc_models::{AdapterSource, Hints, Quant, RopeChoice};

mod compile;
mod faults;

pub use compile::{ActivationsName, Compile, Emit, KvName, Target, WeightsPlace};
pub use faults::{Compare, Perplexity, Verify};

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

/// All that is read: the model, the adapters, a vocabulary that was named.
pub(crate) fn inputs(
    model: &std::path::Path,
    adapters: impl IntoIterator<Item = AdapterSource>,
    stated: &Stated,
) -> Result<Vec<PathBuf>, crate::Misuse> {
    let mut all = vec![model.to_path_buf()];
    all.extend(adapters.into_iter().map(|adapter| adapter.folder));
    all.extend(stated.hints()?.tokenizer);
    Ok(all)
}

impl Changes {
    /// The adapters.
    pub(crate) fn adapters(&self) -> Vec<AdapterSource> {
        self.lora.iter().map(|word| AdapterSource::of_word(word)).collect()
    }

    /// RoPE scaling and context.
    pub(crate) fn rope(&self) -> Result<RopeChoice, crate::Misuse> {
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
    pub(crate) fn hints(&self) -> Result<Hints, crate::Misuse> {
        Hints::of_words(self.state.iter().map(String::as_str)).map_err(|e| crate::Misuse(e.to_string()))
    }
}

/// The type of weight matrices.
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
    pub(crate) fn quant(&self) -> Result<Option<Quant>, crate::Misuse> {
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
    #[command(flatten)]
    pub stated: Stated,
}
