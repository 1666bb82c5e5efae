//! The command line, and the options of the library: they are one.
//!
//! In: arguments. Out: their values: flags of several commands here, the rest in `compile` and `faults`. Invariant: a
//! flag's meaning is documented here and nowhere else in the code; docs/cli.md is generated from these definitions.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use qwenc_models::{AdapterSource, Hints, Quant, RopeChoice};

mod compile;
mod faults;
mod model;
mod run;

pub use compile::{ActivationsName, Compile, Emit, KvName, LinkerName, Target, WeightsPlace};
pub use faults::{Compare, Perplexity, Verify};
pub use model::ModelPath;
pub use run::{Cache, CacheCommand, Run};

/// Compiles a language model (GGUF file or Hugging Face folder) to one native executable.
#[derive(Debug, Parser)]
#[command(
    name = "qwenc",
    version,
    after_help = "Examples:
  qwenc compile sample -o qwen                   the built-in sample model: nothing to download
  ./qwen generate \"The capital of Brazil is\"
  qwenc run Qwen3-0.6B-Q8_0.gguf                 compile into a cache, and chat
  qwenc compile Qwen3-0.6B-Q8_0.gguf -o qwen     a GGUF file
  qwenc compile Qwen3-0.6B/ --quant int8 -o qwen a folder of Hugging Face
  ./qwen chat"
)]
pub struct Args {
    /// Print each phase and its time to standard error
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Messages")]
    pub verbose: bool,
    /// Print only results and errors: no notes, no warnings, no progress
    #[arg(short, long, global = true, help_heading = "Messages")]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compile a model to a native executable or a shared library
    #[command(after_help = "Examples:
  qwenc compile Qwen3-0.6B-Q8_0.gguf -o qwen
  qwenc compile Qwen3-0.6B/ --quant int8 -o qwen
  qwenc compile Qwen3-0.6B/ --quant int4 --cpu x86-64-v3 -o qwen    a file to give away
  qwenc compile Qwen3-0.6B/ --target cuda --sm 90 -o qwen           for an H100
  qwenc compile sample --emit plan                                  a level of the compiler, as text")]
    Compile(Compile),
    /// Compile a model into a cache of executables and run it: chat, or answer PROMPT
    #[command(after_help = "Examples:
  qwenc run Qwen3-0.6B-Q8_0.gguf                             chat
  qwenc run Qwen3-0.6B/ \"What is 7 + 5?\" --quant int8        one answer
  qwenc run sample -- --temperature 0.7 --seed 1             flags of the executable's chat
  qwenc run sample -- serve --port 8000                      another of its commands
The cache is QWENC_CACHE, or qwenc/executables in XDG_CACHE_HOME or ~/.cache.")]
    Run(Box<Run>),
    /// List or remove the executables that `run` keeps
    Cache(Cache),
    /// Convert a model to one self-contained model.bin
    #[command(after_help = "Examples:
  qwenc export Qwen3-0.6B/ --quant int8 -o model.bin
  qwenc export Qwen3-0.6B-Q4_0.gguf -o model.bin
  qwenc export Qwen3-0.6B/ --lora my-adapter:0.5 -o merged.bin")]
    Export(Export),
    /// Show a model's configuration and tensors, and report problems
    #[command(after_help = "Examples:
  qwenc inspect Qwen3-0.6B-Q8_0.gguf
  qwenc inspect Qwen3-0.6B/ --json")]
    Inspect(Inspect),
    /// Convert a file of an older program to a model.bin, or back, without rounding
    #[command(after_help = "Examples:
  qwenc migrate old.bin --state tokenizer=tokenizer.json -o model.bin
  qwenc migrate model.bin --to ajc1 -o old.bin")]
    Migrate(Migrate),
    /// Check a model's tensors, optionally against the checkpoint that it was made from
    #[command(after_help = "Examples:
  qwenc verify model.bin
  qwenc verify model.bin --against Qwen3-0.6B/")]
    Verify(Verify),
    /// Run two models on the same tokens and name the first activation that differs
    #[command(after_help = "Examples:
  qwenc compare Qwen3-0.6B/ ./qwen --prompt \"The capital of Brazil is\"
  qwenc compare activations.safetensors model.bin")]
    Compare(Compare),
    /// Measure the perplexity of a model on a text
    #[command(after_help = "Examples:
  qwenc perplexity Qwen3-0.6B/ text.txt --quant int8
  qwenc perplexity ./qwen text.txt --context 1024")]
    Perplexity(Perplexity),
    /// Print the completion script of a shell
    #[command(after_help = "Examples:
  qwenc completions bash > ~/.local/share/bash-completion/completions/qwenc
  qwenc completions zsh > ~/.zfunc/_qwenc
  qwenc completions fish > ~/.config/fish/completions/qwenc.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages of qwenc and of each command to a folder, or print that of qwenc
    #[command(after_help = "Examples:
  qwenc man | man -l -
  qwenc man ~/.local/share/man/man1")]
    Man {
        /// Folder to write to; it is made if it is missing
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

/// Storage type of the weights.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Weight types")]
pub struct Weights {
    /// Type of the weight matrices (default: the checkpoint's own; float16 is stored as f32)
    #[arg(long, value_name = "TYPE", value_enum)]
    pub quant: Option<QuantName>,
    /// Weights of a row that share one scale, at most 65536; for int4 32 or a multiple of 8 (default: 64 for int8, 32 for
    /// int4)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole(1..=qwenc_models::MAX_GROUP))]
    pub group_size: Option<u32>,
    /// With --quant int4: store embedding and LM head as int4 too, instead of int8
    #[arg(long)]
    pub quant_embeddings: bool,
}

/// Changes to the model before it is stored or compiled.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Changes to the model")]
pub struct Changes {
    /// Merge a LoRA adapter (a PEFT folder), multiplied by SCALE. May be given several times
    #[arg(long, value_name = "FOLDER[:SCALE]")]
    pub lora: Vec<String>,
    /// RoPE scaling instead of the checkpoint's: none, linear:FACTOR, dynamic:FACTOR, ntk:FACTOR,
    /// yarn:FACTOR[:ORIGINAL_CONTEXT] or llama3:FACTOR[:ORIGINAL_CONTEXT]
    #[arg(long, value_name = "RULE")]
    pub rope_scaling: Option<String>,
    /// Longest context of the model in tokens (default: the checkpoint's)
    #[arg(short, long, alias = "ctx-size", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole(0..=u32::MAX))]
    pub context: Option<u32>,
}

/// A parser of whole numbers of a range; clap says what was found, and after which flag.
fn whole(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let number = text.parse::<u32>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Paths of all files that are read: the model, the adapters, a vocabulary from --state.
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

/// Facts that the model's file lacks.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Old files")]
pub struct Stated {
    /// A fact that an old file lacks: tokenizer=FILE, head_dim=N, group_size=N, tied=true or body=260
    #[arg(long, value_name = "KEY=VALUE")]
    pub state: Vec<String>,
}

impl Stated {
    /// The facts, parsed.
    pub(crate) fn hints(&self) -> Result<Hints, crate::Misuse> {
        Hints::of_words(self.state.iter().map(String::as_str)).map_err(|e| crate::Misuse(e.to_string()))
    }
}

/// The type of weight matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QuantName {
    /// 4 bytes a weight
    F32,
    /// 2 bytes a weight; 1.5 in executables for CPUs with AVX2, without loss
    Bf16,
    /// 1 byte a weight and a scale of 4 bytes a group
    Int8,
    /// Half a byte a weight and a scale of 2 bytes a group
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
    #[command(flatten)]
    pub checkpoint: ModelPath,
    /// File to write (default: model.bin)
    #[arg(short, long, value_name = "FILE", default_value = "model.bin", hide_default_value = true)]
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
    /// qwenc's own file
    ModelBin,
    /// An older int8 format for Qwen3, with files for tokenizer and templates beside it
    Ajc1,
}

#[derive(Debug, ClapArgs)]
pub struct Migrate {
    #[command(flatten)]
    pub model: ModelPath,
    /// Format of the output (default: model-bin)
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "model-bin", hide_default_value = true)]
    pub to: Format,
    /// File to write, required with --to ajc1 (default: model.bin)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Debug, ClapArgs)]
pub struct Inspect {
    #[command(flatten)]
    pub model: ModelPath,
    /// Read every value too: hashes, ranges, NaN and infinity (default: headers only)
    #[arg(long)]
    pub values: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub stated: Stated,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_number_is_told_what_was_expected() {
        let definition = Args::command();
        let mut flags = 0;
        for command in definition.get_subcommands() {
            for arg in command.get_arguments() {
                let is_number = |names: &[clap::builder::Str]| ["N", "IDS", "X"].contains(&names[0].as_str());
                let Some(flag) = arg.get_long().filter(|_| arg.get_value_names().is_some_and(is_number))
                else {
                    continue;
                };
                for bad in ["x", "-1", ""] {
                    let words = ["qwenc", command.get_name(), &format!("--{flag}"), bad];
                    let said = Args::try_parse_from(words).unwrap_err().to_string();
                    let named = said.contains(&format!("invalid value '{bad}' for '--{flag} <"));
                    assert!(named && said.contains(">': expected a "), "{words:?}: {said}");
                }
                flags += 1;
            }
        }
        assert!(flags >= 9, "{flags}");
    }

    #[test]
    fn every_list_says_which_number_is_wrong() {
        let mut lists = 0;
        for command in Args::command().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| arg.get_value_delimiter().is_some()) {
                let flag = format!("--{}", arg.get_long().unwrap_or_default());
                let said = Args::try_parse_from(["qwenc", command.get_name(), &flag, "-1,2"]).unwrap_err();
                assert!(said.to_string().contains(&format!("invalid value '-1' for '{flag} <")), "{said}");
                lists += 1;
            }
        }
        assert!(lists >= 2, "{lists}");
    }

    #[test]
    fn whole_numbers_end_where_they_say() {
        let parse = whole(1..=64);
        assert_eq!((parse("1"), parse("64")), (Ok(1), Ok(64)));
        for bad in ["0", "65", "x", "", "1.5"] {
            assert_eq!(parse(bad), Err("expected a whole number from 1 to 64".to_string()), "{bad}");
        }
    }
}
