//! Flags of `serve`.
//!
//! In: arguments. Out: values in range, as far as that does not depend on the model.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;

use crate::cli::values::whole;
use crate::cli::{Machine, SamplingArgs};
use qwenc_serve::hosts::name_of;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// IP address to listen on, or localhost; 0.0.0.0 listens on every network, which should have an --api-key
    /// (default: 127.0.0.1)
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", hide_default_value = true, value_parser = address)]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free port (default: 8080)
    #[arg(long, value_name = "N", default_value_t = 8080, hide_default_value = true)]
    #[arg(value_parser = whole::<u16>(0..=u16::MAX), allow_negative_numbers = true)]
    pub port: u16,
    /// Most requests that are answered at the same time, each with its own KV cache (default: 4)
    #[arg(long, value_name = "N", default_value_t = 4, hide_default_value = true)]
    #[arg(value_parser = whole::<u16>(1..=512), allow_negative_numbers = true)]
    pub parallel: u16,
    /// Key that clients must send as `Authorization: Bearer KEY`
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub api_key: Option<String>,
    /// File that holds the API key (default: the environment variable QWEN_API_KEY, if set)
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    pub api_key_file: Option<PathBuf>,
    /// Host name that requests may be for, beside localhost; can be repeated
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub allow_host: Vec<String>,
    /// Write a line to standard error for each request: time, method, path, status, bytes, duration
    #[arg(long)]
    pub log_requests: bool,
    /// Most requests in the queue; further ones are refused with status 429 (default: 64)
    #[arg(long, value_name = "N", default_value_t = 64, hide_default_value = true)]
    #[arg(value_parser = whole::<u16>(0..=u16::MAX), allow_negative_numbers = true)]
    pub max_queue: u16,
    /// Sampling of requests that do not say how.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Resources of the machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// An IP address, or `localhost`, which is the same on every system: no name service is asked.
fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => text.parse().map_err(|_| "expected an IP address or localhost".to_owned()),
    }
}

fn host_name(text: &str) -> Result<String, String> {
    name_of(text)
        .ok_or_else(|| "expected a host name such as box.example, without a scheme or path".to_owned())
}
