//! The C entry points, of which the generated `main` calls one.
//!
//! In: what C's `main` gets, and the model's constants. Out: an exit code. Invariant: a Rust panic
//! ends here as a message and exit code 1. The only file that takes C's arguments and the process's own
//! streams; from here on everything is passed along, but that a line editor takes the terminal itself. The names `qwenc_main`,
//! `qwenc_main_cuda` and the same with `_without_serve` are part of the ABI. Only the first two refer to the server, so that a
//! linker leaves it out of a program that calls one of the others.

use std::ffi::{c_char, c_int, c_ulong, CStr, OsString};
use std::io::{stderr, stdin, stdout, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;

use qwenc_abi::{Identity, ModelInfo};

use crate::commands::serve;
use crate::console::Console;
use crate::interrupt;
use crate::run::{run, ServeCommand};
use qwenc_engine::inference::cuda::bundle::Bundle;
use qwenc_engine::program::{Code, Program};
use qwenc_engine::streams::open_standard_streams;

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
    // SAFETY: by the caller's promise.
    guarded(|| unsafe { start(&arguments(argc, argv), Code::Cpu(&*model), &*identity, Some(serve::run)) })
}

/// Runs an executable without a server.
///
/// # Safety
/// As for [`qwenc_main`].
#[no_mangle]
pub unsafe extern "C" fn qwenc_main_without_serve(
    argc: c_int,
    argv: *const *const c_char,
    model: *const ModelInfo,
    identity: *const Identity,
) -> c_int {
    // SAFETY: by the caller's promise.
    guarded(|| unsafe { start(&arguments(argc, argv), Code::Cpu(&*model), &*identity, None) })
}

/// Runs an executable whose kernels are for GPUs.
///
/// # Safety
/// `argc` and `argv` must be those of C's `main`; `bundle` must point to `bundle_bytes` constant bytes and
/// `identity` to a constant, and the bundle's kernels must keep to the contract of `CudaStep` for weights that
/// carry `identity`.
#[no_mangle]
pub unsafe extern "C" fn qwenc_main_cuda(
    argc: c_int,
    argv: *const *const c_char,
    bundle: *const u8,
    bundle_bytes: c_ulong,
    identity: *const Identity,
) -> c_int {
    // SAFETY: by the caller's promise.
    guarded(|| unsafe {
        start_cuda(&arguments(argc, argv), (bundle, bundle_bytes), &*identity, Some(serve::run))
    })
}

/// Runs an executable whose kernels are for GPUs, without a server.
///
/// # Safety
/// As for [`qwenc_main_cuda`].
#[no_mangle]
pub unsafe extern "C" fn qwenc_main_cuda_without_serve(
    argc: c_int,
    argv: *const *const c_char,
    bundle: *const u8,
    bundle_bytes: c_ulong,
    identity: *const Identity,
) -> c_int {
    // SAFETY: by the caller's promise.
    guarded(|| unsafe { start_cuda(&arguments(argc, argv), (bundle, bundle_bytes), &*identity, None) })
}

unsafe fn start_cuda(
    args: &[OsString],
    (bundle, bundle_bytes): (*const u8, c_ulong),
    identity: &Identity,
    server: Option<ServeCommand>,
) -> c_int {
    // SAFETY: by the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(bundle, bundle_bytes as usize) };
    match Bundle::parse(bytes) {
        // SAFETY: by the caller's promise.
        Ok(bundle) => unsafe { start(args, Code::Cuda(&bundle), identity, server) },
        Err(e) => {
            // If standard error is closed, the message has no reader.
            let _ = writeln!(stderr(), "error: {e}");
            e.exit_code()
        }
    }
}

/// Turns a panic into a message and an exit code.
fn guarded(run: impl FnOnce() -> c_int) -> c_int {
    open_standard_streams();
    interrupt::ignore_broken_pipes();
    std::panic::set_hook(Box::new(|panic| {
        // A message that cannot be written has no reader.
        let _ = writeln!(stderr(), "error: internal error: {panic}; this is a bug, please report it");
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(1)
}

/// C's arguments.
unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    let arg = |i: usize| {
        // SAFETY: argv has argc strings.
        let text = unsafe { CStr::from_ptr(*argv.add(i)) };
        OsString::from(std::ffi::OsStr::from_bytes(text.to_bytes()))
    };
    (0..count).map(arg).collect()
}

/// The path that the kernel was told to execute, relative to the folder that the program was started in.
fn executable_by_kernel() -> Option<PathBuf> {
    // SAFETY: the call only reads the process's auxiliary vector.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if path.is_null() {
        return None;
    }
    // SAFETY: the kernel puts a string there, which stays as long as the process.
    let text = unsafe { CStr::from_ptr(path) };
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(text.to_bytes())))
}

unsafe fn start(args: &[OsString], code: Code, identity: &Identity, server: Option<ServeCommand>) -> c_int {
    let named = || executable_by_kernel().or_else(|| args.first().map(PathBuf::from));
    // Without /proc there is the path that the program was started by.
    let executable = std::env::current_exe().ok().or_else(named).unwrap_or_default();
    let program = Program { code, identity, executable };
    let mut console = Console {
        input: &mut stdin().lock(),
        output: &mut stdout().lock(),
        errors: &mut stderr(),
        input_is_terminal: stdin().is_terminal(),
        output_is_terminal: stdout().is_terminal(),
        errors_is_terminal: stderr().is_terminal(),
        quiet: false,
    };
    // SAFETY: by the caller's promise.
    unsafe { run(&program, server, args, &mut console) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_file_that_runs() {
        let named = executable_by_kernel().unwrap().canonicalize().unwrap();
        assert_eq!(named, std::env::current_exe().unwrap().canonicalize().unwrap());
    }
}
