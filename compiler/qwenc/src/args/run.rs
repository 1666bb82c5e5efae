//! Flags of `run`, and of `cache`, which shows and empties what `run` keeps.

use std::ffi::OsString;

use clap::{Args as ClapArgs, Subcommand};

use super::Compile;

/// Ids of the flags of `compile` that `run` decides itself.
const DECIDED: [&str; 4] = ["output", "emit", "explain", "place"];

#[derive(Debug, ClapArgs)]
pub struct Run {
    #[command(flatten)]
    pub compile: Compile,
    /// Message to answer; without it a chat starts
    #[arg(help_heading = None::<&'static str>)]
    pub prompt: Option<String>,
    /// The same as PROMPT
    #[arg(short = 'p', long = "prompt", hide = true, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(conflicts_with = "prompt")]
    pub named_prompt: Option<String>,
    /// Size of the cache, such as 500MB or 20GB: beyond it the least recently used executables are removed (default: 20GB)
    #[arg(long, value_name = "SIZE", default_value = "20GB", hide_default_value = true, value_parser = bytes)]
    #[arg(help_heading = None::<&'static str>)]
    pub exe_cache_size: u64,
    /// Flags of the executable's `chat`, or another of its commands and its flags, after `--`
    #[arg(last = true, value_name = "FLAGS", help_heading = None::<&'static str>)]
    pub flags: Vec<OsString>,
}

impl Run {
    /// Message to answer, in either form.
    pub fn message(&self) -> Option<&String> {
        self.prompt.as_ref().or(self.named_prompt.as_ref())
    }

    /// The definition, with the flags that `run` decides itself hidden.
    pub fn hide_decided(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| match DECIDED.contains(&arg.get_id().as_str()) {
            true => arg.hide(true),
            false => arg,
        })
    }
}

#[derive(Debug, ClapArgs)]
pub struct Cache {
    #[command(subcommand)]
    pub what: CacheCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum CacheCommand {
    /// List the executables in the cache, the most recently used first
    #[command(after_help = "Examples:
  qwenc cache list")]
    List,
    /// Remove all executables that are not running
    #[command(after_help = "Examples:
  qwenc cache clear")]
    Clear,
}

/// Parses a size in bytes: `500MB`, `20G`, `1.5GiB`; a number alone is bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a size such as 500MB or 20GB, found {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let unit = unit.trim().to_ascii_uppercase();
    let (letter, step) = match unit.strip_suffix("IB") {
        Some(letter) if !letter.is_empty() => (letter, 1024.0),
        _ => (unit.strip_suffix('B').unwrap_or(&unit), 1000.0),
    };
    let power = ["", "K", "M", "G", "T"].iter().position(|l| *l == letter).ok_or_else(expected)?;
    let bytes = number * f64::powi(step, power as i32);
    // Below 2^53 every whole number of bytes is a float.
    match bytes <= (1u64 << 53) as f64 {
        true => Ok(bytes as u64),
        false => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("500MB", 500_000_000),
            ("500m", 500_000_000),
            ("20GB", 20_000_000_000),
            ("1.5G", 1_500_000_000),
            ("2GiB", 2 << 30),
            ("1 TB", 1_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GB", "-1", "1X", "1GG", "1e3", "1.2.3", "99999999TB", "iB", "nan"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
