//! Language models to native executables and shared libraries: the `qwenc` command, and the same as a function.
//!
//! In: [`Options`], or arguments. Out: files and a [`Report`], or an exit code: 0, 2 for misuse, 1 for anything else.
//! Invariant: [`compile`] prints nothing. Of all compiler crates only this one prints, and only for the command; errors
//! are printed here alone.
//!
//! ```
//! use qwenc::{compile, Emit, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! # if cfg!(feature = "llvm") {
//! // An executable of the built-in sample model for any x86-64 processor.
//! let options = Options {
//!     cpu: Some("x86-64-v2".into()),
//!     output: Some(folder.path().join("qwen")),
//!     ..Options::new("sample")
//! };
//! let report = compile(&options)?;
//! assert_eq!(report.output, options.output);
//! let said = std::process::Command::new(folder.path().join("qwen"))
//!     .args(["generate", "The capital of Brazil is"])
//!     .output()?;
//! assert_eq!(String::from_utf8(said.stdout)?, " Brasília.\n");
//! # }
//!
//! // A level of the compiler as text, which needs no backend.
//! let report = compile(&Options { emit: Emit::Graph, ..Options::new("sample") })?;
//! assert!(report.text()?.starts_with("graph "));
//!
//! // What is wrong is told in the words of the command line.
//! let wrong = compile(&Options { emit: Emit::Ptx, ..Options::new("sample") }).unwrap_err();
//! assert!(wrong.is_misuse() && wrong.to_string().starts_with("--emit ptx goes with --target cuda"));
//! # Ok(())
//! # }
//! ```

// Without a backend nothing of an executable is made.
#![cfg_attr(not(any(feature = "llvm", feature = "cuda")), allow(dead_code, unused_imports))]

mod args;
mod compare;
mod compile;
#[cfg(feature = "llvm")]
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
mod executable;
mod export;
mod input;
mod inspect;
mod interrupt;
mod job;
mod metadata;
mod migrate;
#[cfg(feature = "cuda")]
mod nvrtc;
mod outcome;
mod output;
mod package;
mod perplexity;
mod predict;
mod progress;
mod run;
mod shell;
mod target;
mod text;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Args, Command, Run};
use error::{message, Misuse};

pub use args::{
    ActivationsName, Changes, Compile as Options, Emit, KvName, LinkerName, ModelPath, QuantName, Stated,
    Target, Weights, WeightsPlace,
};
pub use compile::{compile, Report};
pub use error::Error;
pub use job::Made;

/// The command line's definition, from which the reference in docs/cli.md is generated.
pub fn definition() -> clap::Command {
    Args::command().mut_subcommand("run", Run::hide_decided)
}

/// Runs the command: arguments and streams are those of the process.
pub fn command_line() -> ExitCode {
    let args = match Args::from_arg_matches(&definition().get_matches()) {
        Ok(args) => args,
        Err(e) => e.exit(),
    };
    if !args.quiet {
        progress::show(args.verbose);
    }
    match interrupt::install().and_then(|()| dispatch(&args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("error: {}", message(&e)));
            ExitCode::from(if e.is::<Misuse>() { 2 } else { 1 })
        }
    }
}

fn dispatch(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Export(a) => export::run(a),
        Command::Inspect(a) => inspect::run(a),
        Command::Migrate(a) => migrate::run(a),
        Command::Compile(a) => compile::run(a),
        Command::Verify(a) => verify::run(a),
        Command::Compare(a) => compare::run(a),
        Command::Perplexity(a) => perplexity::run(a),
        Command::Run(a) => run::run(a),
        Command::Cache(a) => run::cache(a),
        Command::Completions { shell } => shell::completions(*shell),
        Command::Man { folder } => shell::man(folder.as_deref()),
    }
}

/// Prints a note for a user of the command, unless `--quiet`; nothing where a program uses the library.
fn note(line: &str) {
    if progress::is_shown() {
        say(line);
    }
}

/// A line on standard error, for the command; a line that cannot be written is lost.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
