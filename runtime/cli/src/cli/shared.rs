//! Flags that several commands take: how to choose tokens, which adapter, what to use of the machine.
//!
//! In: arguments. Out: values in range, as far as that does not depend on the model.

use clap::{Args, ValueEnum};
use qwenc_abi::KvType;

use crate::cli::values::{number, stop_text, temperature, whole};
use qwenc_engine::inference::cuda::Decode;

/// Flags of sampling.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Most tokens of an answer (default: the checkpoint's, else 512 for generate, 4096 for chat, as many as fit for serve)
    #[arg(short = 'n', long, aliases = ["n-predict", "predict"], value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole::<usize>(0..=usize::MAX))]
    pub max_tokens: Option<usize>,
    /// Temperature: 0 always takes the likeliest token, higher values give more varied answers (default: 0 for generate,
    /// as `info` shows for others)
    #[arg(long, alias = "temp", value_name = "T", value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Sample only from the K likeliest tokens; 0 turns this off
    #[arg(long, value_name = "K", value_parser = whole::<u32>(0..=u32::MAX), allow_negative_numbers = true)]
    pub top_k: Option<u32>,
    /// Sample only from the likeliest tokens whose probabilities add up to P; 1 turns this off
    #[arg(long, value_name = "P", value_parser = number(0.0..=1.0), allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Sample only from tokens that are at least P times as likely as the likeliest; 0 turns this off
    #[arg(long, value_name = "P", value_parser = number(0.0..=1.0), allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Repetition penalty: positive logits of tokens in prompt and answer are divided by R, negative ones multiplied
    /// (default: as `info` shows; 1 turns this off)
    #[arg(long, alias = "repeat-penalty", value_name = "R", allow_negative_numbers = true)]
    #[arg(value_parser = number(0.01..=10.0))]
    pub repetition_penalty: Option<f32>,
    /// Presence penalty: subtracted from the logit of each token in the answer (default: 0)
    #[arg(long, value_name = "P", value_parser = number(-2.0..=2.0), allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Frequency penalty: subtracted from the logit of a token once for each time it is in the answer (default: 0)
    #[arg(long, value_name = "P", value_parser = number(-2.0..=2.0), allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// Stop text: ends the answer and is not shown; may be given several times (default: the checkpoint's)
    #[arg(long, value_name = "TEXT", value_parser = stop_text, allow_hyphen_values = true)]
    pub stop: Vec<String>,
}

/// Flags of one answer or conversation.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Answer")]
pub struct AnswerArgs {
    /// Seed of the random numbers: the same seed gives the same answer (default: random; --stats shows it)
    #[arg(short, long, value_name = "S", value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Continue after a stop token
    #[arg(long)]
    pub ignore_eos: bool,
    /// Print tokens per second and the seed to standard error
    #[arg(long)]
    pub stats: bool,
}

/// Flags of the machine's resources.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct Machine {
    /// CPU: number of threads (default: the physical cores that the process may use)
    #[arg(short, long, value_name = "N", value_parser = whole::<u16>(1..=1024), allow_negative_numbers = true)]
    pub threads: Option<u16>,
    /// CPU: bind each thread to one core
    #[arg(long)]
    pub pin: bool,
    /// GPU: number of the device; `info` lists them (default: 0)
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0..=usize::MAX), allow_negative_numbers = true)]
    pub device: Option<usize>,
    /// GPU: how decode steps are launched (default: graph)
    #[arg(long, value_name = "HOW", value_enum)]
    pub decode: Option<DecodeName>,
    /// Longest sequence in tokens; the KV cache grows with it (default: the model's context)
    #[arg(short, long, alias = "ctx-size", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole::<usize>(0..=usize::MAX))]
    pub context: Option<usize>,
    /// Most prompt tokens in one step (default: 512)
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=65536), allow_negative_numbers = true)]
    pub chunk: Option<u32>,
    /// Type of the KV cache (default: f32 for logits; for the other commands the type chosen when compiling)
    #[arg(long, value_name = "TYPE", value_enum)]
    pub kv_type: Option<KvName>,
}

/// Values of `--kv-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvName {
    /// 4 bytes an element, exact
    F32,
    /// 2 bytes an element
    Bf16,
    /// 1 byte an element, and one scale for each key and each value
    Int8,
}

/// Values of `--decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecodeName {
    /// A CUDA graph, recorded once and launched as a whole
    Graph,
    /// Each kernel is launched by itself
    Launches,
    /// One kernel stays on the device and computes one token at a time
    Persistent,
}

/// Flag of the runtime LoRA adapter.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Adapter")]
pub struct Adapter {
    /// Runtime LoRA adapter to use; `info` lists them (default: none)
    #[arg(long, value_name = "NAME")]
    pub lora: Option<String>,
}

impl Machine {
    /// What `--decode` says.
    pub fn launching(&self) -> Decode {
        match self.decode {
            Some(DecodeName::Launches) => Decode::Launches,
            Some(DecodeName::Persistent) => Decode::Persistent,
            Some(DecodeName::Graph) | None => Decode::Graph,
        }
    }

    /// The type that `--kv-type` names.
    pub fn kv(&self) -> Option<KvType> {
        self.kv_type.map(|name| match name {
            KvName::F32 => KvType::F32,
            KvName::Bf16 => KvType::Bf16,
            KvName::Int8 => KvType::I8,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn values_out_of_range_are_usage_errors() {
        for args in [
            &["generate", "x", "--temperature", "-1"][..],
            &["generate", "x", "--temperature", "nan"],
            &["generate", "x", "--top-p", "1.5"],
            &["generate", "x", "--min-p", "-0.1"],
            &["generate", "x", "--threads", "0"],
            &["generate", "x", "--chunk", "0"],
            &["generate", "x", "--kv-type", "i8"],
            &["generate", "x", "--device", "-1"],
            &["generate", "x", "--decode", "quickly"],
            &["generate", "x", "--repetition-penalty", "0"],
            &["chat", "--repetition-penalty", "-1"],
            &["serve", "--presence-penalty", "2.5"],
            &["generate", "x", "--frequency-penalty", "nan"],
            &["chat", "--stop", ""],
        ] {
            let e = Cli::try_parse_from(["nano"].iter().chain(args)).unwrap_err();
            assert_eq!(e.exit_code(), 2, "{args:?}: {e}");
        }
        Cli::try_parse_from(["nano", "generate", "-", "--temperature", "0.5", "--top-k", "0"]).unwrap();
        let good = ["nano", "serve", "--presence-penalty", "-2", "--stop", "-a", "--stop", "b"];
        Cli::try_parse_from(good).unwrap();
    }
}
