//! The C entry point, which the generated `main` calls.
//!
//! In: what C's `main` gets, and the model's constants. Out: an exit code. Invariant: a Rust panic
//! ends here as a message and exit code 1. The only file that takes C's arguments and the process's own
//! streams; from here on everything is passed along. The name `qwenc_main` is part of the ABI.

use std::ffi::{c_char, c_int, CStr, OsString};
use std::io::{stderr, stdin, stdout, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};

use qwenc_abi::{Identity, ModelInfo};

use crate::console::Console;
use crate::interrupt;
use crate::program::Program;
use crate::run::run;

/// Runs the executable.
///
/// # Safety
/// `argc` and `argv` must be those of C's `main`; `model` and `identity` must point to constants,
/// and `model.step` must keep to the contract of `StepFn` for weights that carry `identity`.
#[no_mangle]
pub unsafe extern "C" fn qwenc_main(
    argc: c_int,
    argv: *const *const c_char,
    model: *const ModelInfo,
    identity: *const Identity,
) -> c_int {
    interrupt::ignore_broken_pipes();
    std::panic::set_hook(Box::new(|panic| {
        // Nobody is left to tell if this fails.
        let _ = writeln!(stderr(), "error: internal error: {panic}; this is a bug, please report it");
    }));
    // SAFETY: by the caller's promise.
    catch_unwind(AssertUnwindSafe(|| unsafe { start(argc, argv, &*model, &*identity) })).unwrap_or(1)
}

unsafe fn start(argc: c_int, argv: *const *const c_char, model: &ModelInfo, identity: &Identity) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let arg = |i: usize| {
        // SAFETY: argv has argc strings.
        let text = unsafe { CStr::from_ptr(*argv.add(i)) };
        OsString::from(std::ffi::OsStr::from_bytes(text.to_bytes()))
    };
    let args: Vec<OsString> = (0..count).map(arg).collect();
    // Without /proc the name it was called by is the best guess.
    let executable =
        std::env::current_exe().or_else(|e| args.first().map(Into::into).ok_or(e)).unwrap_or_default();
    let program = Program { model, identity, executable };
    let mut console = Console {
        input: &mut stdin().lock(),
        output: &mut stdout().lock(),
        errors: &mut stderr(),
        input_is_terminal: stdin().is_terminal(),
        output_is_terminal: stdout().is_terminal(),
    };
    // SAFETY: by the caller's promise.
    unsafe { run(&program, &args, &mut console) }
}
