//! The command line of an executable.
//!
//! In: arguments. Out: `Cli`, whose values are in range as far as that does not depend on the
//! model. Invariant: every flag is documented here and nowhere else in the code; README.md shows each one,
//! which a test checks. Flags are only read here, what they do is in `commands/`; those of several commands are in `shared`.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::program::Code;

mod shared;

pub use shared::{Adapter, DecodeName, KvName, Machine, SamplingArgs};

/// Shown after the help; NAME stands for the executable's own name.
pub(crate) const EXAMPLES: &str = "\
Examples:
  NAME generate \"The capital of Brazil is\"        continue a text, greedily
  NAME generate - < prompt.txt                    the prompt from standard input
  NAME generate \"Once\" --temperature 0.8 --top-p 0.95 --seed 7
  NAME chat                                       talk; Ctrl-C stops an answer, Ctrl-D ends
  NAME chat --no-think --prompt \"What is 7 + 5?\"  one answer, then exit
  NAME serve --port 8080 --parallel 8              OpenAI's HTTP interface
  NAME embed \"The capital of Brazil\"              a vector, to compare texts by
  NAME logits --tokens 1,2,3 --out logits.safetensors
  NAME perplexity text.txt                        how well the model predicts a text
  NAME bench --prompt 256                         how fast it is here, and how fast it could be
  NAME info --context 8192                        what this is and how much memory it needs
  NAME verify                                     whether the weights are intact";

/// A language model, compiled: code and weights in one program, nothing to install.
#[derive(Debug, Parser)]
#[command(name = "model", subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Weights image to use instead of the one in or beside this executable
    #[arg(long, global = true, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What an executable can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a text
    Generate(Generate),
    /// Talk with the model, using its chat template
    Chat(Chat),
    /// Answer over HTTP, as OpenAI's interface has it, many clients at a time
    Serve(Serve),
    /// Print a text as a vector of length 1: its last token's last hidden state
    Embed(Embed),
    /// Write the logits of every position to a safetensors file
    Logits(Logits),
    /// How well the model predicts a text
    Perplexity(Perplexity),
    /// Measure speed, beside what this machine can do at most
    Bench(Bench),
    /// Show what this executable is and needs
    Info(Info),
    /// Recompute the hash of the weights and compare
    Verify,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// The text to continue; `-` reads it from standard input (one final line break is dropped)
    #[arg(conflicts_with = "tokens")]
    pub prompt: Option<String>,
    /// The prompt as token ids
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub tokens: Vec<u32>,
    /// Print the sampled token ids, comma-separated, instead of text
    #[arg(long)]
    pub print_tokens: bool,
    /// Guess up to N tokens ahead where the text repeats itself, and check them in one step: the same tokens, sooner
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub speculate: Option<u8>,
    /// How to sample.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Which adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub struct Chat {
    /// System message that begins the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Ask the template for thinking before the answer
    #[arg(long, conflicts_with = "no_think")]
    pub think: bool,
    /// Ask the template for an answer without thinking
    #[arg(long)]
    pub no_think: bool,
    /// Answer this and exit
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// How to sample; defaults come from the checkpoint's generation_config.json.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Which adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Address to listen on; 0.0.0.0 for every network, which deserves an --api-key
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    /// Port to listen on; 0: any free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// Most answers under way at a time, each with a KV cache of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub parallel: u16,
    /// What clients must send as `Authorization: Bearer KEY`
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub api_key: Option<String>,
    /// Most answers that wait for their turn; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_queue: u16,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct Embed {
    /// The texts, each of which gets a line; `-` reads one from standard input
    #[arg(required_unless_present = "tokens", conflicts_with = "tokens")]
    pub texts: Vec<String>,
    /// One text as token ids
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub tokens: Vec<u32>,
    /// Which adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `logits`.
#[derive(Debug, Args)]
pub struct Logits {
    /// The input as token ids
    #[arg(long, value_name = "IDS", value_delimiter = ',', required_unless_present = "prompt")]
    pub tokens: Vec<u32>,
    /// The input as text
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File to write: "logits" F32 `[T, vocabulary rows]` and "tokens" I32 `[T]`
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write the activations too that the code leaves in memory: "embed", "layer.0.q_proj", ..., F32 `[T, width]`
    #[arg(long)]
    pub activations: bool,
    /// Which adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `perplexity`.
#[derive(Debug, Args)]
pub struct Perplexity {
    /// The text; `-` reads it from standard input
    pub text: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// Which adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Tokens of the prompt that prefill is measured with [default: 512, or the context if it is shorter]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt: Option<u32>,
    /// Tokens to decode: after a single one, or with --context the last ones of that context [default: 128,
    /// or as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub new: Option<u32>,
    /// Sequences, 2 to 16, to decode together as well, each with a cache of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=16))]
    pub batch: Option<u8>,
    /// Rounds to measure, after one to warm up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// Measure with made-up weights instead of the image, which need not be there: real speed, answers without sense
    #[arg(long)]
    pub synthetic_weights: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// What to use of this machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub struct Info {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    /// What memory is computed for.
    #[command(flatten)]
    pub machine: Machine,
}

/// Ids of the flags that only an executable for CPUs has.
const CPU_ONLY: [&str; 3] = ["threads", "pin", "activations"];
/// Ids of the flags that only an executable for GPUs has.
const GPU_ONLY: [&str; 3] = ["device", "decode", "synthetic_weights"];

/// The command line of an executable with this code: its help shows only flags that it has.
pub(crate) fn command(code: Code) -> clap::Command {
    let foreign: &'static [&str] = match code {
        Code::Cpu(_) => &GPU_ONLY,
        Code::Cuda(_) => &CPU_ONLY,
    };
    let hide = |arg: clap::Arg| {
        let foreign = foreign.contains(&arg.get_id().as_str());
        if foreign {
            arg.hide(true)
        } else {
            arg
        }
    };
    Cli::command().mut_subcommands(|command| command.mut_args(hide))
}

impl Command {
    /// Refuses flags that an executable with this code does not have.
    pub(crate) fn suits(&self, code: Code) -> Result<()> {
        let (machine, synthetic, activations) = match self {
            Command::Generate(args) => (&args.machine, false, false),
            Command::Chat(args) => (&args.machine, false, false),
            Command::Serve(args) => (&args.machine, false, false),
            Command::Embed(args) => (&args.machine, false, false),
            Command::Logits(args) => (&args.machine, false, args.activations),
            Command::Perplexity(args) => (&args.machine, false, false),
            Command::Bench(args) => (&args.machine, args.synthetic_weights, false),
            Command::Info(args) => (&args.machine, false, false),
            Command::Verify => return Ok(()),
        };
        let gpu = [
            ("--device", machine.device.is_some()),
            ("--decode", machine.decode.is_some()),
            ("--synthetic-weights", synthetic),
        ];
        let cpu = [
            ("--threads", machine.threads.is_some()),
            ("--pin", machine.pin),
            ("--activations", activations),
        ];
        let (given, found, other) = match code {
            Code::Cpu(_) => (&gpu[..], "the CPU", "cuda"),
            Code::Cuda(_) => (&cpu[..], "GPUs", "cpu"),
        };
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::Usage(format!(
                "{flag} means nothing here: this executable runs on {found}; leave it away, or compile with \
                 `qwenc compile --target {other}`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_values_are_usage_errors() {
        let bad: [&[&str]; 18] = [
            &["generate", "x", "--temperature", "-1"],
            &["generate", "x", "--temperature", "nan"],
            &["generate", "x", "--top-p", "1.5"],
            &["generate", "x", "--min-p", "-0.1"],
            &["generate", "x", "--threads", "0"],
            &["generate", "x", "--chunk", "0"],
            &["generate", "--tokens", "1,x"],
            &["generate", "--tokens", "-1"],
            &["generate", "x", "--tokens", "1"],
            &["logits", "--out", "f"],
            &["chat", "--think", "--no-think"],
            &["bench", "--prompt", "0"],
            &["bench", "--new", "0"],
            &["bench", "--runs", "0"],
            &["generate", "x", "--kv-type", "i8"],
            &["generate", "x", "--device", "-1"],
            &["generate", "x", "--decode", "quickly"],
            &[],
        ];
        for args in bad {
            let all = ["nano"].iter().chain(args);
            let e = Cli::try_parse_from(all).unwrap_err();
            assert_eq!(e.exit_code(), 2, "{args:?}: {e}");
        }
        Cli::try_parse_from(["nano", "verify", "--weights", "f"]).unwrap();
        Cli::try_parse_from(["nano", "generate", "-", "--temperature", "0.5", "--top-k", "0"]).unwrap();
        // A text may begin as a list or a number does.
        Cli::try_parse_from(["nano", "chat", "--prompt", "-5 + 3?", "--system", "- be brief"]).unwrap();
        Cli::try_parse_from(["nano", "logits", "--prompt", "- a", "--out", "f"]).unwrap();
    }
}
