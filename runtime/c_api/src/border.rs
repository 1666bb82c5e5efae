//! Border between C and Rust: panics, pointers, and words for errors.
//!
//! In: raw arguments and a function. Out: what C gets, and the last error of this thread. Invariant: nothing unwinds
//! through here, and a panic's words are the error's, not the terminal's.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use crate::types::{Measured, Status};
use qwenc_engine::error::{Error, Result};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
    static LAST_STATUS: Cell<Status> = const { Cell::new(Status::Ok) };
    /// Message of a panic, and whether it is caught here.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs what C asked for; a handle, or null.
pub(super) fn handle<T>(run: impl FnOnce() -> Result<T>) -> *mut T {
    guarded(run).map_or(std::ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// Runs what C asked for; a count, or a negative status.
pub(super) fn count(run: impl FnOnce() -> Result<usize>) -> i64 {
    // No array has more elements.
    guarded(run).map_or_else(|status| status as i64, |n| i64::try_from(n).unwrap_or(i64::MAX))
}

/// Runs what C asked for; a status.
pub(super) fn status(run: impl FnOnce() -> Result<()>) -> i32 {
    guarded(run).map_or_else(|status| status as i32, |()| Status::Ok as i32)
}

fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T, Status> {
    caught(run).map_err(|e| {
        let words = in_words_of_c(&e.to_string());
        // A message that quotes a NUL byte is cut there.
        let words: Vec<u8> = words.bytes().take_while(|&b| b != 0).collect();
        LAST.with_borrow_mut(|last| *last = CString::new(words).unwrap_or_default());
        LAST_STATUS.set(of(&e));
        of(&e)
    })
}

/// Turns a panic into an error.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match CATCHING.get() {
            true => PANIC.set(Some(panic.to_string())),
            false => others(panic),
        }));
    });
    let before = CATCHING.replace(true);
    let done = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(before);
    done.unwrap_or_else(|_| Err(Error::Internal(PANIC.take().unwrap_or_default())))
}

fn of(error: &Error) -> Status {
    match error {
        Error::ContextFull { .. } => Status::ContextFull,
        Error::Internal(_) => Status::Internal,
        e if e.exit_code() == 2 => Status::BadArgument,
        _ => Status::Failed,
    }
}

/// Messages name flags of the command line; here they are fields of `qwen_options`.
fn in_words_of_c(message: &str) -> String {
    let flags = ["--weights FILE", "--weights", "--threads", "--device", "--context", "--chunk", "--kv-type"];
    flags.iter().fold(message.to_owned(), |text, flag| {
        let field = flag.trim_start_matches('-').trim_end_matches(" FILE").replace('-', "_");
        text.replace(flag, &format!("qwen_options.{field}"))
    })
}

/// Why the last failing call of this thread failed; empty if none did.
#[no_mangle]
pub extern "C" fn qwen_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// The status of the last failing call of this thread; `QWEN_OK` if none did.
#[no_mangle]
pub extern "C" fn qwen_last_status() -> i32 {
    LAST_STATUS.get() as i32
}

/// An argument that makes no sense.
pub(super) fn bad(what: impl Into<String>) -> Error {
    Error::Usage(what.into())
}

/// Value behind a pointer; an error for null.
pub(super) unsafe fn reference<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: by the caller's promise it is null or points to a T that outlives the call.
    unsafe { pointer.as_ref() }.ok_or_else(|| bad(format!("{name} is NULL; give a valid pointer")))
}

/// An array; only an empty one may be null.
pub(super) unsafe fn array<'a, T>(start: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    check_array(start, count, name)?;
    // SAFETY: checked as far as that is possible, else by the caller's promise.
    Ok(if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(start, count) } })
}

/// An array to fill; only an empty one may be null.
pub(super) unsafe fn array_mut<'a, T>(start: *mut T, count: usize, name: &str) -> Result<&'a mut [T]> {
    check_array(start, count, name)?;
    // SAFETY: checked as far as that is possible, else by the caller's promise.
    Ok(if count == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(start, count) } })
}

fn check_array<T>(start: *const T, count: usize, name: &str) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    if start.is_null() {
        return Err(bad(format!("{name} is NULL; expected {count} elements")));
    }
    match count.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() && start.is_aligned() => Ok(()),
        _ => Err(bad(format!("{name} cannot be an array of {count} elements; check pointer and count"))),
    }
}

/// Writes as much of `values` as fits; returns how many there are.
pub(super) unsafe fn fill<T: Copy>(
    values: &[T],
    start: *mut T,
    capacity: usize,
    name: &str,
) -> Result<usize> {
    // SAFETY: by the caller's promise.
    let to = unsafe { array_mut(start, capacity, name)? };
    let fits = values.len().min(to.len());
    to[..fits].copy_from_slice(&values[..fits]);
    Ok(values.len())
}

/// A text that ends with a NUL; none if the pointer is null.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by the caller's promise it ends with a NUL and outlives the call.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    text.map(Some).map_err(|e| bad(format!("{name} is not UTF-8: {e}")))
}

/// A struct that begins with its size.
pub(super) unsafe fn measured<'a, T: Measured>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: by the caller's promise at least the size is there.
    let found = unsafe { *reference(pointer.cast::<usize>(), name)? };
    let expected = size_of::<T>();
    if found != expected {
        let init = T::INIT;
        return Err(bad(format!(
            "{name}->size is {found}, expected {expected}; initialise it with {init} of this library's qwen.h"
        )));
    }
    // SAFETY: it says to be as long as a T.
    unsafe { reference(pointer, name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> String {
        // SAFETY: it is always a text.
        unsafe { CStr::from_ptr(qwen_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn panics_and_errors_are_statuses_with_words() {
        assert_eq!(status(|| panic!("three {}", 3)), Status::Internal as i32);
        assert!(said().contains("three 3"), "{}", said());
        assert_eq!(count(|| Err(bad("a\0b"))), Status::BadArgument as i64);
        assert_eq!((said().as_str(), qwen_last_status()), ("a", Status::BadArgument as i32));
        let full = || Err(Error::ContextFull { needed: 5, limit: 4, most: 9 });
        assert_eq!(status(full), Status::ContextFull as i32);
        assert!(said().contains("qwen_options.context up to 9"), "{}", said());
        // A call that succeeds leaves the words alone, and each thread has its own.
        assert_eq!(status(|| Ok(())), 0);
        assert!(said().contains("context"));
        assert_eq!(std::thread::spawn(said).join().unwrap(), "");
    }

    #[test]
    fn arrays_that_cannot_be() {
        // SAFETY: what is wrong with them is found before they are read.
        unsafe {
            assert!(array(std::ptr::null::<u32>(), 0, "a").unwrap().is_empty());
            assert!(array(std::ptr::null::<u32>(), 1, "a").is_err());
            assert!(array(std::ptr::dangling::<u32>(), usize::MAX, "a").is_err());
            assert!(array(std::ptr::without_provenance::<u32>(5), 1, "a").is_err());
        }
    }
}
