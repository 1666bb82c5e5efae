//! Ctrl-C: the first one during an answer ends the answer, any other ends the program.
//!
//! In: SIGINT. Out: a flag. Invariant: the handler does nothing that is unsafe in a signal handler; it
//! sets atomics, which loops ask, or ends the program. All of the program's signal dispositions are set here,
//! but for those of the server, which tokio sets (`serve/mod.rs`).

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const INTERRUPTED: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// Takes over SIGINT for this process.
pub fn install() {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: the handler only uses an atomic and _exit, both async-signal-safe.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
}

/// An answer begins: the next Ctrl-C is for it.
pub fn answer_begins() {
    STATE.store(ANSWERING, Ordering::SeqCst);
}

/// The answer has ended: the next Ctrl-C is for the program.
pub fn answer_ends() {
    STATE.store(IDLE, Ordering::SeqCst);
}

/// Whether Ctrl-C came since the answer began.
pub fn interrupted() -> bool {
    STATE.load(Ordering::SeqCst) == INTERRUPTED
}

extern "C" fn on_signal(_: libc::c_int) {
    if STATE.compare_exchange(ANSWERING, INTERRUPTED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        // SAFETY: _exit is async-signal-safe. 130 is how shells report an end by SIGINT.
        unsafe { libc::_exit(130) };
    }
}

/// A reader that went away shall be an error value, so that temporary files are removed.
pub fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is always a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_of_an_answer_only_sets_the_flag() {
        install();
        answer_begins();
        assert!(!interrupted());
        // SAFETY: raise only sends the signal, for which a handler is installed.
        unsafe { libc::raise(libc::SIGINT) };
        assert!(interrupted());
        answer_ends();
        assert!(!interrupted());
    }
}
