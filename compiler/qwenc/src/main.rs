//! The `qwenc` command.
//!
//! In: arguments. Out: files, reports, and an exit code: 0, 2 for misuse, 1 for anything else.
//! Invariant: only this crate prints, and errors are printed here alone.

// Without a backend nothing of an executable is made.
#![cfg_attr(not(any(feature = "llvm", feature = "cuda")), allow(dead_code, unused_imports))]

mod args;
mod compare;
mod compile;
#[cfg(feature = "llvm")]
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod executable;
mod export;
mod input;
mod inspect;
mod interrupt;
mod metadata;
mod migrate;
#[cfg(feature = "cuda")]
mod nvrtc;
mod output;
#[cfg(any(feature = "llvm", feature = "cuda"))]
mod package;
mod perplexity;
mod predict;
mod progress;
mod target;
mod text;
mod verify;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    match interrupt::install().and_then(|()| run(&args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("error: {}", message(&e)));
            ExitCode::from(if e.is::<Misuse>() { 2 } else { 1 })
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Export(a) => export::run(a),
        Command::Inspect(a) => inspect::run(a),
        Command::Migrate(a) => migrate::run(a),
        Command::Compile(a) => compile::run(a),
        Command::Verify(a) => verify::run(a),
        Command::Compare(a) => compare::run(a),
        Command::Perplexity(a) => perplexity::run(a),
    }
}

/// A line on standard error; nobody is told if that cannot be written.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The error and its causes, each said once: many messages quote their cause themselves.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &cause;
        }
    }
    text
}

/// Arguments that are well-formed but make no sense together.
#[derive(Debug)]
struct Misuse(String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
