//! Flags that several commands take: how to choose tokens, which adapter, what to use of the machine.
//!
//! In: arguments. Out: values in range, as far as that does not depend on the model.

use clap::{Args, ValueEnum};
use qwenc_abi::KvType;

use crate::inference::cuda::Decode;

/// Arguments that say how to choose tokens.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// Most tokens to generate [default: generate 512, chat 4096]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_tokens: Option<usize>,
    /// 0 always takes the likeliest token, which is reproducible; higher is more varied [default:
    /// generate 0, chat as the checkpoint says]
    #[arg(long, value_name = "T", value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Sample from the K likeliest tokens only; 0: from all
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Sample from the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", value_parser = fraction, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Sample from tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P", value_parser = fraction, allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Makes sampling repeatable [default: another one in every run; --stats shows it]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Go on after a stop token
    #[arg(long)]
    pub ignore_eos: bool,
    /// Print tokens per second and the seed to standard error
    #[arg(long)]
    pub stats: bool,
}

/// Arguments that say what to use of the machine.
#[derive(Clone, Copy, Debug, Args)]
pub struct Machine {
    /// Threads to use [default: this machine's physical cores that the process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Keep each thread on a CPU of its own, on different cores as far as they go
    #[arg(long)]
    pub pin: bool,
    /// GPU to use, by the number that `info` shows [default: 0]
    #[arg(long, value_name = "N")]
    pub device: Option<usize>,
    /// How the steps of decode are launched on a GPU [default: graph]
    #[arg(long, value_name = "HOW", value_enum)]
    pub decode: Option<DecodeName>,
    /// Longest sequence in tokens [default: the model's longest]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Most prompt tokens to run in one step [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub chunk: Option<u32>,
    /// What the KV cache stores [default: logits f32, others as compiled]
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
    /// 1 byte an element, and a scale for each head's key and value
    Int8,
}

/// Values of `--decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecodeName {
    /// Recorded once, then launched as a whole
    Graph,
    /// Kernel by kernel
    Launches,
    /// One token at a time by one kernel that stays on the device
    Persistent,
}

/// Which adapter.
#[derive(Clone, Debug, Default, Args)]
pub struct Adapter {
    /// Adapter to use, one of those that `info` shows [default: none]
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

fn temperature(text: &str) -> Result<f32, String> {
    let t: f32 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if t.is_finite() && t >= 0.0 {
        return Ok(t);
    }
    Err("expected 0 or more".into())
}

fn fraction(text: &str) -> Result<f32, String> {
    let p: f32 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=1.0).contains(&p) {
        return Ok(p);
    }
    Err("expected a number from 0 to 1".into())
}
