//! Flags of the commands that find out what is wrong: `verify`, `compare`, `perplexity`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Stated, Weights};

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
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens", allow_hyphen_values = true)]
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
