//! Flags of the commands that find out what is wrong: `verify`, `compare`, `perplexity`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{whole, ModelPath, Stated, Weights};

#[derive(Debug, ClapArgs)]
pub struct Verify {
    #[command(flatten)]
    pub model: ModelPath,
    /// Checkpoint that the model was made from: every tensor is compared with it
    #[arg(long, value_name = "CHECKPOINT")]
    pub against: Option<PathBuf>,
    /// Largest relative error of a tensor that passes (default: the rounding error of its type)
    #[arg(long, value_name = "X", requires = "against", value_parser = tolerance, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Debug, ClapArgs)]
pub struct Compare {
    /// Reference: a model, a compiled executable, or a safetensors file of activations
    pub a: PathBuf,
    /// Model, executable or file of activations to compare with the reference
    pub b: PathBuf,
    /// Input as token ids, such as 1,2,3. A file of activations has its own input
    #[arg(long, value_name = "IDS", value_delimiter = ',', allow_hyphen_values = true)]
    #[arg(value_parser = whole(0..=u32::MAX))]
    pub tokens: Vec<u32>,
    /// Input as text
    #[arg(short, long, value_name = "TEXT", conflicts_with = "tokens", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Relative error above which an activation counts as different (default: 1e-4, or the rounding error of the weights'
    /// types if that is more)
    #[arg(long, value_name = "X", value_parser = tolerance, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    #[command(flatten)]
    pub stated: Stated,
}

#[derive(Debug, ClapArgs)]
pub struct Perplexity {
    /// Compiled executable, or a model, which is compiled for this CPU first
    pub model: PathBuf,
    /// Text file; `-` reads standard input
    pub text: PathBuf,
    /// Tokens in one window of the text (default: the model's context)
    #[arg(short, long, alias = "ctx-size", value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole(0..=u32::MAX))]
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
