//! The fork server: a process with one thread, which forks a process for each client's job and ends it when told.
//!
//! In: messages on the control stream. Out: processes. Invariant: it ends with the control stream, and with it all of its
//! processes; it ignores the terminal's signals, since the server finishes answers after them.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::sandbox::{frame, limits, Job};
use qwenc_engine::streams::open_standard_streams;

/// Makes a [`Job`] of what follows; answered by an empty message, or by what is wrong.
pub const PREPARE: u8 = 1;
/// Starts a process with this number and the descriptor that comes along.
pub const START: u8 = 2;
/// Ends the process with this number.
pub const END: u8 = 3;

/// Serves until the control stream ends, then ends the process.
pub fn run<J: Job>(control: &UnixStream) -> ! {
    keep_only(control.as_raw_fd());
    open_standard_streams();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: to ignore is always a valid disposition.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    limits::of_all();
    let mut processes = HashMap::new();
    let mut job: Option<J> = None;
    while let Ok(Some((message, stream))) = frame::read_with(control) {
        let number = || message.get(1..9).and_then(|n| n.try_into().ok()).map(u64::from_le_bytes);
        match (message.first(), stream) {
            (Some(&PREPARE), _) => {
                let made = J::prepare(&message[1..]);
                let why = made.map_or_else(
                    |why| why,
                    |made| {
                        job = Some(made);
                        String::new()
                    },
                );
                // A server that is gone is noticed at the next message.
                let _ = frame::write(control, why.as_bytes());
            }
            (Some(&START), Some(stream)) => {
                let (Some(job), Some(number)) = (&job, number()) else { continue };
                // SAFETY: this process has one thread.
                match unsafe { libc::fork() } {
                    0 => {
                        keep_only(stream.as_raw_fd());
                        open_standard_streams();
                        limits::of_one();
                        job.work(&UnixStream::from(stream));
                        // SAFETY: nothing of this process is needed any more.
                        unsafe { libc::_exit(0) }
                    }
                    // The client sees its stream end.
                    -1 => {}
                    process => drop(processes.insert(number, process)),
                }
            }
            (Some(&END), _) => {
                if let Some(process) = number().and_then(|number| processes.remove(&number)) {
                    end(process);
                }
            }
            _ => {}
        }
    }
    processes.into_values().for_each(end);
    // SAFETY: nothing of this process is needed any more.
    unsafe { libc::_exit(0) }
}

/// Ends a process of this one, and waits for it.
fn end(process: libc::pid_t) {
    // SAFETY: it is a child that was not waited for, so the number is still its own.
    unsafe {
        libc::kill(process, libc::SIGKILL);
        libc::waitpid(process, std::ptr::null_mut(), 0);
    }
}

/// Closes all descriptors but this one.
fn keep_only(descriptor: i32) {
    let close = |first: u32, last: u32| {
        // SAFETY: nothing here uses another descriptor.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if done != 0 {
            // Kernels before 5.9.
            (first..=last.min(1 << 16)).for_each(|fd| {
                // SAFETY: as above.
                unsafe { libc::close(fd as i32) };
            });
        }
    };
    let kept = descriptor as u32;
    if kept > 0 {
        close(0, kept - 1);
    }
    close(kept + 1, u32::MAX);
}
