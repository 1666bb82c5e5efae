//! The command line of an executable.
//!
//! In: arguments. Out: `Cli`, whose values are in range as far as that does not depend on the model. Invariant: every
//! flag is documented here and nowhere else in the code; docs/cli.md is generated from these definitions. Flags are only
//! read here and acted on in `commands/`; those of several commands are in `shared`.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use qwenc_engine::error::{Error, Result};
use qwenc_engine::program::Code;

mod serve;
mod shared;
mod values;

pub use serve::Serve;
pub use shared::{Adapter, AnswerArgs, DecodeName, KvName, Machine, SamplingArgs};
use values::whole;

/// A language model compiled to a program: code, weights and tokenizer in one file.
#[derive(Debug, Parser)]
#[command(name = "model", version = "", subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  NAME chat                                        talk with the model
  NAME generate \"The capital of Brazil is\"         continue a text
  NAME serve --port 8080                           an OpenAI-compatible server and a chat page
  NAME info                                        the model, and the memory that it needs
NAME COMMAND --help shows the flags and examples of a command.")]
pub struct Cli {
    /// Weights image to use instead of the one in or beside this executable
    #[arg(long, global = true, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Print each phase of the start and its time to standard error
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Messages")]
    pub verbose: bool,
    /// Print only results and errors: no notes
    #[arg(short, long, global = true, help_heading = "Messages")]
    pub quiet: bool,
    /// Refused, since the model is in the executable; so that the message can say so
    #[arg(short, long, global = true, hide = true, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of an executable.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a text
    #[command(after_help = "Examples:
  NAME generate \"The capital of Brazil is\"
  NAME generate - < prompt.txt                       the prompt from standard input
  NAME generate \"Once upon a time\" -n 200 --temperature 0.8 --top-p 0.95 --seed 7")]
    Generate(Generate),
    /// Chat with the model in the terminal, using its chat template
    #[command(after_help = "Examples:
  NAME chat                                          Ctrl-C stops an answer, Ctrl-D ends
  NAME chat --no-think --prompt \"What is 7 + 5?\"     one answer, then exit
  NAME chat --system \"Answer in French.\" --temperature 0.6")]
    Chat(Chat),
    /// Serve an OpenAI-compatible HTTP API, and a chat page for browsers
    #[command(after_help = "Examples:
  NAME serve                                         http://127.0.0.1:8080
  NAME serve --host 0.0.0.0 --api-key SECRET --parallel 8")]
    Serve(Serve),
    /// Print the embedding of each text: the last token's last hidden state, normalised to length 1
    #[command(after_help = "Examples:
  NAME embed \"The capital of Brazil\" \"Brasília\"
  NAME embed - < text.txt")]
    Embed(Embed),
    /// Write the logits of every position to a safetensors file
    #[command(after_help = "Examples:
  NAME logits --tokens 1,2,3 --out logits.safetensors
  NAME logits --prompt \"The capital of Brazil is\" --out logits.safetensors")]
    Logits(Logits),
    /// Measure the model's perplexity on a text
    #[command(after_help = "Examples:
  NAME perplexity text.txt
  NAME perplexity - --context 1024 < text.txt")]
    Perplexity(Perplexity),
    /// Measure the speed of prefill and decode, and the limits of this machine
    #[command(after_help = "Examples:
  NAME bench
  NAME bench --prompt 256 --new 64
  NAME bench --batch 8 --json")]
    Bench(Bench),
    /// Show the model, the processor that it was compiled for, and the memory that it needs
    #[command(after_help = "Examples:
  NAME info
  NAME info --context 8192                          the memory at this context")]
    Info(Info),
    /// Check the SHA-256 of the weights
    #[command(after_help = "Examples:
  NAME verify")]
    Verify,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Text to continue; `-` reads standard input (one final line break is dropped)
    #[arg(conflicts_with = "tokens")]
    pub prompt: Option<String>,
    /// The same as PROMPT
    #[arg(short = 'p', long = "prompt", hide = true, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["prompt", "tokens"])]
    pub named_prompt: Option<String>,
    /// Prompt as token ids, such as 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    #[arg(value_parser = whole::<u32>(0..=u32::MAX), allow_hyphen_values = true)]
    pub tokens: Vec<u32>,
    /// Print token ids, separated by commas, instead of text
    #[arg(long)]
    pub print_tokens: bool,
    /// Prompt-lookup speculation: guess up to N tokens from earlier text and check them in one step. The tokens stay the
    /// same (default: off)
    #[arg(long, value_name = "N", value_parser = whole::<u8>(1..=64), allow_negative_numbers = true)]
    pub speculate: Option<u8>,
    /// Sampling.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Seed, end and statistics of the answer.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Runtime LoRA adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub struct Chat {
    /// System message at the start of the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Thinking before each answer, if the chat template has such a switch
    #[arg(long, conflicts_with = "no_think")]
    pub think: bool,
    /// Answers without thinking, if the chat template has such a switch
    #[arg(long)]
    pub no_think: bool,
    /// Answer this one message and exit
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Sampling; `info` shows the defaults.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Seed, end and statistics of the answer.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Runtime LoRA adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct Embed {
    /// Texts, each printed as one line; `-` reads one text from standard input
    #[arg(required_unless_present = "tokens", conflicts_with = "tokens")]
    pub texts: Vec<String>,
    /// One text as token ids, such as 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    #[arg(value_parser = whole::<u32>(0..=u32::MAX), allow_hyphen_values = true)]
    pub tokens: Vec<u32>,
    /// Runtime LoRA adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `logits`.
#[derive(Debug, Args)]
pub struct Logits {
    /// Input as token ids, such as 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',', required_unless_present = "prompt")]
    #[arg(value_parser = whole::<u32>(0..=u32::MAX), allow_hyphen_values = true)]
    pub tokens: Vec<u32>,
    /// Input as text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "tokens", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File to write: tensors "logits" F32 `[T, vocabulary rows]` and "tokens" I32 `[T]`
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// CPU: also write the activations that stay in memory: "embed", "layer.0.q_proj", ..., F32 `[T, width]`
    #[arg(long)]
    pub activations: bool,
    /// Runtime LoRA adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `perplexity`.
#[derive(Debug, Args)]
pub struct Perplexity {
    /// Text file; `-` reads standard input
    pub text: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Runtime LoRA adapter.
    #[command(flatten)]
    pub adapter: Adapter,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Prompt length in tokens, for prefill (default: 512, or the context if it is shorter)
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole::<u32>(1..=u32::MAX))]
    pub prompt: Option<u32>,
    /// Tokens to decode. They follow a single token, or with --context end at that position (default: 128, or as many as
    /// fit)
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole::<u32>(1..=u32::MAX))]
    pub new: Option<u32>,
    /// Also decode N sequences (2 to 16) in batched steps, each with its own KV cache (default: off)
    #[arg(long, value_name = "N", value_parser = whole::<u8>(2..=16), allow_negative_numbers = true)]
    pub batch: Option<u8>,
    /// Measured rounds, after one that warms up (default: 5)
    #[arg(long, value_name = "N", default_value_t = 5, hide_default_value = true)]
    #[arg(value_parser = whole::<u16>(1..=1000), allow_negative_numbers = true)]
    pub runs: u16,
    /// GPU: measure with made-up weights; the weights image may be missing. The speed is real, the answers are not
    #[arg(long)]
    pub synthetic_weights: bool,
    /// GPU: also measure the kernels of one token by themselves, launched one by one, and what the device does at most: reading,
    /// an empty kernel in a recorded step, a barrier of all blocks
    #[arg(long)]
    pub profile: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `info`.
#[derive(Debug, Args)]
pub struct Info {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Sampling to show in place of the model's own defaults.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Resources that the memory is computed for.
    #[command(flatten)]
    pub machine: Machine,
}

/// Ids of the flags that only an executable for CPUs has.
const CPU_ONLY: [&str; 3] = ["threads", "pin", "activations"];
/// Ids of the flags that only an executable for GPUs has.
const GPU_ONLY: [&str; 4] = ["device", "decode", "synthetic_weights", "profile"];

/// The definition of the command line, with examples for an executable of this name. The reference in docs/cli.md is
/// generated from it.
pub fn definition(name: &str) -> clap::Command {
    let named = |command: clap::Command| match command.get_after_help().map(|text| text.to_string()) {
        Some(text) => command.after_help(text.replace("NAME", name)),
        None => command,
    };
    named(Cli::command()).mut_subcommands(named).bin_name(name.to_owned())
}

/// The command line of an executable with this code: its help shows only commands and flags that it has.
pub(crate) fn command(code: Code, has_server: bool, name: &str) -> clap::Command {
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
    let all = definition(name).mut_subcommands(|command| command.mut_args(hide));
    if has_server {
        return all;
    }
    let examples = all.get_after_help().map(|text| text.to_string()).unwrap_or_default();
    let of_serve = format!("  {name} serve ");
    let examples: Vec<&str> = examples.lines().filter(|line| !line.starts_with(&of_serve)).collect();
    all.after_help(examples.join("\n")).mut_subcommand("serve", |serve| serve.hide(true))
}

impl Cli {
    /// Refuses flags that an executable with this code does not have, and `-m`.
    pub(crate) fn suits(&self, code: Code) -> Result<()> {
        if let Some(model) = &self.model {
            return Err(Error::Usage(format!(
                "--model {}: the model is in this executable already; leave the flag out, or compile the other model \
                 with `qwenc compile`",
                model.display()
            )));
        }
        self.command.suits(code)
    }
}

impl Command {
    /// Refuses flags that an executable with this code does not have.
    fn suits(&self, code: Code) -> Result<()> {
        let (machine, [synthetic, profile], activations) = match self {
            Command::Generate(args) => (&args.machine, [false; 2], false),
            Command::Chat(args) => (&args.machine, [false; 2], false),
            Command::Serve(args) => (&args.machine, [false; 2], false),
            Command::Embed(args) => (&args.machine, [false; 2], false),
            Command::Logits(args) => (&args.machine, [false; 2], args.activations),
            Command::Perplexity(args) => (&args.machine, [false; 2], false),
            Command::Bench(args) => (&args.machine, [args.synthetic_weights, args.profile], false),
            Command::Info(args) => (&args.machine, [false; 2], false),
            Command::Verify => return Ok(()),
        };
        let gpu = [
            ("--device", machine.device.is_some()),
            ("--decode", machine.decode.is_some()),
            ("--synthetic-weights", synthetic),
            ("--profile", profile),
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
        let bad: [&[&str]; 9] = [
            &["generate", "--tokens", "1,x"],
            &["generate", "--tokens", "-1"],
            &["generate", "x", "--tokens", "1"],
            &["logits", "--out", "f"],
            &["chat", "--think", "--no-think"],
            &["bench", "--prompt", "0"],
            &["bench", "--new", "0"],
            &["bench", "--runs", "0"],
            &[],
        ];
        for args in bad {
            let e = Cli::try_parse_from(["nano"].iter().chain(args)).unwrap_err();
            assert_eq!(e.exit_code(), 2, "{args:?}: {e}");
        }
        let e = Cli::try_parse_from(["nano", "generate", "--tokens", "-1,2"]).unwrap_err();
        assert!(e.to_string().contains("invalid value '-1' for '--tokens <IDS>'"), "{e}");
        Cli::try_parse_from(["nano", "verify", "--weights", "f"]).unwrap();
        // A text may begin as a list or a number does.
        Cli::try_parse_from(["nano", "chat", "--prompt", "-5 + 3?", "--system", "- be brief"]).unwrap();
        Cli::try_parse_from(["nano", "logits", "--prompt", "- a", "--out", "f"]).unwrap();
    }
}
