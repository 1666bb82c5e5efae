//! `qwenc perplexity`: how well a model predicts a text.
//!
//! In: an executable or a model, and a text. Out: what the executable's own `perplexity` says. Invariant: there is one way
//! to measure it: a model is compiled for this CPU first, in a temporary folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use qwenc_files::Scratch;

use crate::args::{Args, Command, Perplexity};
use crate::inspect::print;
use crate::job::Unnamed;
use crate::{compile, executable, Misuse};

pub fn run(args: &Perplexity) -> Result<()> {
    if executable::is_one(&args.model) {
        if args.weights.quant.is_some() || !args.stated.state.is_empty() {
            let what = format!("--quant, --state: {} is compiled already", args.model.display());
            return Err(Misuse(what).into());
        }
        return measure(&args.model, args);
    }
    if args.text != Path::new("-") && !qwenc_files::is_descriptor(&args.text) {
        qwenc_files::regular(&args.text)
            .with_context(|| format!("{}: opening the text", args.text.display()))?;
    }
    let folder = Scratch::anywhere().context("creating a temporary folder")?;
    let program = compiled(args, folder.path())?;
    measure(&program, args)
}

/// The model as an executable in `folder`.
fn compiled(args: &Perplexity, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("model");
    let words = ["qwenc", "compile", "--target", "cpu", "-o"].map(std::ffi::OsStr::new);
    let paths = [program.as_os_str(), "--".as_ref(), args.model.as_os_str()];
    let parsed =
        Args::try_parse_from(words.into_iter().chain(paths)).context("the command line of compile")?;
    if let Command::Compile(mut compile) = parsed.command {
        compile.weights = args.weights.clone();
        compile.stated = args.stated.clone();
        compile::pipeline(&compile, Unnamed::File)?;
    }
    Ok(program)
}

fn measure(program: &Path, args: &Perplexity) -> Result<()> {
    let text = args.text.to_string_lossy();
    let context = args.context.map(|n| n.to_string());
    let mut words = vec!["perplexity", "--"];
    words.push(&text);
    let mut flags = Vec::new();
    if let Some(context) = &context {
        flags.extend(["--context", context]);
    }
    if args.json {
        flags.push("--json");
    }
    words.splice(1..1, flags);
    print(executable::run(program, &words)?.as_bytes())
}
