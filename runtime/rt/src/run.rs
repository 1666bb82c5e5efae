//! From arguments to an exit code.
//!
//! In: what the executable is, its arguments, its streams. Out: an exit code: 0 done, 2 wrong
//! usage, 1 anything else. Invariant: the only place that prints errors; everything goes through
//! the given streams, so that tests run commands in-process.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};
use qwenc_abi::{Identity, ModelInfo, ABI_VERSION};

use crate::cli::{Cli, Command, EXAMPLES};
use crate::commands;
use crate::error::{Error, Result};

/// What the executable is.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its code.
    pub model: &'a ModelInfo,
    /// Which code and weights these are.
    pub identity: &'a Identity,
    /// Its file.
    pub executable: PathBuf,
}

/// Its streams.
pub struct Console<'a> {
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Standard output.
    pub output: &'a mut dyn Write,
    /// Standard error.
    pub errors: &'a mut dyn Write,
    /// Whether a person is typing.
    pub input_is_terminal: bool,
    /// Whether a person is reading.
    pub output_is_terminal: bool,
}

impl Console<'_> {
    /// Writes to standard output at once.
    pub fn print(&mut self, text: &str) -> Result<()> {
        self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush()).map_err(Error::output)
    }

    /// Writes a line to standard error.
    pub fn note(&mut self, text: &str) -> Result<()> {
        writeln!(self.errors, "{text}").map_err(Error::output)
    }
}

/// Runs the command that `args` (the program's name first) ask for.
///
/// # Safety
/// `program.model.step` must keep to the contract of `StepFn` for weights that carry
/// `program.identity`.
pub unsafe fn run(program: &Program, args: &[OsString], console: &mut Console) -> i32 {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(e) => {
            let stream = if e.use_stderr() { &mut *console.errors } else { &mut *console.output };
            // Nobody is left to tell if this fails.
            let _ = write!(stream, "{e}").and_then(|()| stream.flush());
            return e.exit_code();
        }
    };
    // SAFETY: by the caller's promise.
    let done = unsafe { dispatch(program, &cli, console) }
        .and_then(|()| console.output.flush().map_err(Error::output));
    match done {
        Ok(()) => 0,
        Err(e) if e.is_broken_pipe() => 0,
        Err(e) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(console.errors, "error: {e}");
            e.exit_code()
        }
    }
}

fn parse(args: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let name = args.first().map(PathBuf::from);
    let name = name.as_deref().and_then(|p| p.file_name()).and_then(|n| n.to_str()).unwrap_or("model");
    let command = Cli::command().bin_name(name.to_owned()).after_help(EXAMPLES.replace("NAME", name));
    Cli::from_arg_matches(&command.try_get_matches_from(args)?)
}

unsafe fn dispatch(program: &Program, cli: &Cli, console: &mut Console) -> Result<()> {
    if program.model.abi_version != ABI_VERSION {
        return Err(Error::AbiVersion { expected: ABI_VERSION, found: program.model.abi_version });
    }
    let weights = cli.weights.as_deref();
    // SAFETY (all): by the caller's promise.
    match &cli.command {
        Command::Generate(args) => unsafe { commands::generate::run(program, weights, args, console) },
        Command::Chat(args) => unsafe { commands::chat::run(program, weights, args, console) },
        Command::Logits(args) => unsafe { commands::logits::run(program, weights, args) },
        Command::Info(args) => commands::info::run(program, weights, args, console),
        Command::Verify => commands::verify::run(program, weights, console),
    }
}
