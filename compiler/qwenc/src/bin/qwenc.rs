//! The `qwenc` command. In: arguments. Out: an exit code. Invariant: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    qwenc::command_line()
}
