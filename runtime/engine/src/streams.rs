//! Standard streams of a process that was started without some of them.
//!
//! In: a new process. Out: three open descriptors. Invariant: descriptors 0, 1 and 2 are never those of another file.

/// Opens standard input, output and error where they are closed, so that no other file gets their numbers.
pub fn open_standard_streams() {
    loop {
        // SAFETY: plain system calls; the descriptor is this function's own or one of the three.
        unsafe {
            let mut fd = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if fd < 0 {
                // A root folder without devices: a file in memory takes the place.
                fd = libc::memfd_create(c"closed".as_ptr(), 0);
            }
            if !(0..=2).contains(&fd) {
                libc::close(fd);
                return;
            }
        }
    }
}
