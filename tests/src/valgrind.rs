//! Programs under valgrind. In: a program and its arguments. Out: what it did.
//!
//! Invariant: a machine without valgrind skips such a test aloud, and fails it where
//! `QWENC_TESTS_SKIP_NOTHING` is set. valgrind's CPU has AVX2 but no AVX-512, whatever the machine has.

use std::ffi::OsStr;
use std::process::Command;

use crate::program::{run, Outcome};

/// The exit code of a program that touched what it must not.
pub const FOUND: i32 = 9;

/// Whether valgrind is here; says so if not.
pub fn is_installed() -> bool {
    if run(Command::new("sh").args(["-c", "command -v valgrind"])).code == Some(0) {
        return true;
    }
    let whole = std::env::var_os("QWENC_TESTS_SKIP_NOTHING").is_some();
    assert!(!whole, "valgrind is not installed; run scripts/setup-tests.sh");
    println!("SKIPPED: valgrind is not installed (scripts/setup-tests.sh installs it)");
    false
}

/// On valgrind's CPU, with nothing checked.
pub fn plain(program: impl AsRef<OsStr>, args: &[&str]) -> Outcome {
    run(Command::new("valgrind").args(["--tool=none", "-q"]).arg(program).args(args))
}

/// Every load, store and branch checked: exit code [`FOUND`] if one was of memory that is not the program's, or
/// hung on a value that was never set.
pub fn checked(program: impl AsRef<OsStr>, args: &[&str]) -> Outcome {
    memcheck(&["--leak-check=no"], program, args)
}

/// The same, and [`FOUND`] too if memory was lost: neither freed nor known to anybody at the end.
pub fn leakless(program: impl AsRef<OsStr>, args: &[&str]) -> Outcome {
    let definite = ["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"];
    memcheck(&definite, program, args)
}

fn memcheck(flags: &[&str], program: impl AsRef<OsStr>, args: &[&str]) -> Outcome {
    let exit = format!("--error-exitcode={FOUND}");
    run(Command::new("valgrind").args(["-q", &exit]).args(flags).arg(program).args(args))
}
