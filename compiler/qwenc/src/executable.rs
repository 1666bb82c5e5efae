//! Compiled models, run as programs.
//!
//! In: a path and arguments. Out: what the program wrote. Invariant: what a program says is wrong is the message, once;
//! it is run by its path and never looked up by its name.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use qwenc_files::Scratch;
use serde_json::Value;

use crate::outcome::Outcome;

/// Facts that an executable's `info --json` prints.
pub struct About(pub(crate) Value);

/// Whether a file is a program, or a script that runs one.
pub fn is_one(path: &Path) -> bool {
    let mut start = [0; 4];
    qwenc_files::regular(path).and_then(|mut f| f.read_exact(&mut start)).is_ok()
        && (start == *b"\x7fELF" || start.starts_with(b"#!"))
}

/// Runs a compiled model and gives what it wrote to standard output.
pub fn run(path: &Path, args: &[&str]) -> Result<String> {
    let shown = path.display();
    let program = path.canonicalize().with_context(|| format!("{shown}: finding the program"))?;
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::inherit())
        .output()
        .with_context(|| format!("{shown}: running the program"))?;
    if output.status.success() {
        return String::from_utf8(output.stdout).with_context(|| format!("{shown}: reading what it said"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim_end().lines().last().unwrap_or_default();
    match said.strip_prefix("error: ") {
        Some(error) => bail!("{shown}: {error}"),
        None => bail!("{shown} {}: {}, {said}; was it made by qwenc?", args.join(" "), output.status),
    }
}

/// Asks it what it is.
pub fn about(path: &Path) -> Result<About> {
    let said = run(path, &["info", "--json"])?;
    let about = serde_json::from_str(&said);
    about
        .map(About)
        .with_context(|| format!("{}: `info --json` did not say JSON; compile again", path.display()))
}

impl About {
    /// Whether it is for GPUs, whose kernels leave no activations to be read.
    pub(crate) fn runs_on_gpu(&self) -> bool {
        self.0["cpu"].is_null()
    }

    /// For a person.
    pub fn words(&self) -> String {
        let place = if self.runs_on_gpu() { "for GPUs" } else { "for CPUs" };
        format!("{} {place}", self.0["model"]["weight_type"].as_str().unwrap_or("weights"))
    }
}

/// Its logits, and the activations that it can show.
pub fn logits(path: &Path, tokens: &[u32]) -> Result<Outcome> {
    let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
    let ids = ids.join(",");
    let about = about(path)?;
    let folder = Scratch::anywhere().context("creating a temporary folder")?;
    let (file, out) = output_in(&folder);
    let mut args = vec!["logits", "--tokens", &ids, "--out", &out];
    if !about.runs_on_gpu() {
        args.push("--activations");
    }
    run(path, &args)?;
    Outcome::read(&file)
}

/// A text's tokens, as the executable reads it.
pub fn encode_prompt(path: &Path, prompt: &str) -> Result<Vec<u32>> {
    let folder = Scratch::anywhere().context("creating a temporary folder")?;
    let (file, out) = output_in(&folder);
    run(path, &["logits", "--prompt", prompt, "--out", &out])?;
    Ok(Outcome::read(&file)?.tokens)
}

fn output_in(folder: &Scratch) -> (PathBuf, String) {
    let file = folder.path().join("logits.safetensors");
    let name = file.to_string_lossy().into_owned();
    (file, name)
}
