//! Whether this program needs a dynamic loader.
//!
//! In: the program's own headers in memory. Out: its form. Invariant: it is read from what runs, not from what was asked of the
//! compiler.

use std::ffi::{c_int, c_void};

/// The form of an executable, as `info` names it.
pub fn name() -> &'static str {
    match is_dynamic() {
        true => "dynamic",
        false => "static",
    }
}

/// Whether the program names a loader, which has loaded the C library for it.
fn is_dynamic() -> bool {
    let mut found = false;
    // SAFETY: the callback takes what it is given for the length of the call, and the pointer is to a live local.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    found
}

/// Looks through the headers of the first object, which is the program, and ends there.
unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    // SAFETY: the loader passes valid headers, and `is_dynamic` a pointer to a bool.
    unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        *found.cast::<bool>() = headers.iter().any(|header| header.p_type == libc::PT_INTERP);
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_dynamic_program() {
        assert_eq!(name(), "dynamic");
    }
}
