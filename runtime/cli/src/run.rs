//! From arguments to an exit code.
//!
//! In: what the executable is, its arguments, its streams. Out: an exit code: 0 done, 2 wrong
//! usage, 1 anything else. Invariant: the only place that prints errors and that chooses a command;
//! everything goes through the given streams, so that tests run commands in-process.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::ErrorKind;
use clap::FromArgMatches;
use qwenc_abi::ABI_VERSION;

use crate::cli::{self, Cli, Command, Serve};
use crate::commands;
use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::image::Image;
use qwenc_engine::phases;
use qwenc_engine::program::{Code, Program};

/// The command `serve`, which an executable may be linked without.
pub type ServeCommand = unsafe fn(&Program, Option<&Path>, &Serve, &mut Console) -> Result<()>;

/// Runs the command that `args` (the program's name first) ask for.
///
/// # Safety
/// `program.code` must keep to the contract of `StepFn` or `CudaStep` for weights that carry
/// `program.identity`.
pub unsafe fn run(
    program: &Program,
    server: Option<ServeCommand>,
    args: &[OsString],
    console: &mut Console,
) -> i32 {
    let cli = match parse(args, program.code, server.is_some()) {
        Ok(cli) => cli,
        Err(e) if e.kind() == ErrorKind::DisplayVersion => {
            // A message that cannot be written has no reader.
            let _ = console.print(&version(program, args));
            return 0;
        }
        Err(e) => {
            let stream = if e.use_stderr() { &mut *console.errors } else { &mut *console.output };
            // A message that cannot be written has no reader.
            let _ = write!(stream, "{e}").and_then(|()| stream.flush());
            return e.exit_code();
        }
    };
    console.quiet = cli.quiet;
    if cli.verbose {
        phases::show();
    }
    // SAFETY: by the caller's promise.
    let done = unsafe { dispatch(program, server, &cli, console) }
        .and_then(|()| console.output.flush().map_err(Error::output));
    match done {
        Ok(()) => 0,
        Err(e) if e.is_broken_pipe() => 0,
        Err(e) => {
            // A message that cannot be written has no reader.
            let _ = writeln!(console.errors, "error: {e}");
            e.exit_code()
        }
    }
}

/// Message for `serve` in an executable that was linked without it.
const NO_SERVER: &str =
    "serve: this executable was compiled with --no-serve and has no server; compile the model again without that flag";

/// The executable's own name.
fn own_name(args: &[OsString]) -> &str {
    let path = args.first().map(Path::new);
    path.and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or("model")
}

/// The line of `--version`: the model is left out where its image cannot be read.
fn version(program: &Program, args: &[OsString]) -> String {
    let made_by = concat!("qwenc ", env!("CARGO_PKG_VERSION"));
    let bytes = program.code.sizes().weights_bytes;
    let image = Image::find(None, &program.executable, bytes, program.identity).ok();
    let about = image.as_ref().map(Image::metadata);
    let target = match (program.code, about) {
        (Code::Cuda(_), _) => "NVIDIA GPUs".to_owned(),
        (Code::Cpu(_), Some(about)) => format!("CPU {}", about.target.cpu),
        (Code::Cpu(_), None) => "CPUs".to_owned(),
    };
    let model = about.map_or_else(
        || "model unknown: its weights image cannot be read".to_owned(),
        |about| format!("model {}, {}", about.model.name, about.model.weight_type),
    );
    format!("{} ({made_by}), for {target}, {model}\n", own_name(args))
}

fn parse(args: &[OsString], code: Code, has_server: bool) -> std::result::Result<Cli, clap::Error> {
    let name = own_name(args);
    Cli::from_arg_matches(&cli::command(code, has_server, name).try_get_matches_from(args)?)
}

unsafe fn dispatch(
    program: &Program,
    server: Option<ServeCommand>,
    cli: &Cli,
    console: &mut Console,
) -> Result<()> {
    if let Code::Cpu(model) = program.code {
        if model.abi_version != ABI_VERSION {
            return Err(Error::AbiVersion { expected: ABI_VERSION, found: model.abi_version });
        }
    }
    cli.suits(program.code)?;
    let weights = cli.weights.as_deref();
    // SAFETY (all): by the caller's promise.
    match &cli.command {
        Command::Generate(args) => unsafe { commands::generate::run(program, weights, args, console) },
        Command::Chat(args) => unsafe { commands::chat::run(program, weights, args, console) },
        Command::Serve(args) => match server {
            Some(serve) => unsafe { serve(program, weights, args, console) },
            None => Err(Error::Usage(NO_SERVER.into())),
        },
        Command::Embed(args) => unsafe { commands::embed::run(program, weights, args, console) },
        Command::Logits(args) => unsafe { commands::logits::run(program, weights, args) },
        Command::Perplexity(args) => unsafe { commands::perplexity::run(program, weights, args, console) },
        Command::Bench(args) => unsafe { commands::bench::run(program, weights, args, console) },
        Command::Info(args) => commands::info::run(program, server.is_some(), weights, args, console),
        Command::Verify => commands::verify::run(program, weights, console),
    }
}
