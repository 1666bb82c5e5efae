//! Ctrl-C: the first one during an answer ends the answer, any other ends the program.
//!
//! In: SIGINT. Out: a flag. Invariant: the handler does nothing that is unsafe in a signal handler; it
//! sets atomics, which loops ask, or ends the program. All of the program's signal dispositions are set here,
//! but for those of the server, which tokio sets (`serve/mod.rs`).

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const INTERRUPTED: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(IDLE);
/// The state of the terminal at standard input to leave behind; null if it was not changed.
static TERMINAL: AtomicPtr<libc::termios> = AtomicPtr::new(null_mut());

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

/// Sets the state that the terminal gets back where Ctrl-C ends the program.
pub fn restore_at_end(terminal: Option<libc::termios>) {
    let new = terminal.map_or(null_mut(), |state| Box::into_raw(Box::new(state)));
    // The old value is never freed: the handler may be reading it.
    TERMINAL.store(new, Ordering::SeqCst);
}

extern "C" fn on_signal(_: libc::c_int) {
    if STATE.compare_exchange(ANSWERING, INTERRUPTED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        let terminal = TERMINAL.load(Ordering::SeqCst);
        // SAFETY: both functions are async-signal-safe, and the pointer is to a value that is never freed. 130 is how
        // shells report an end by SIGINT.
        unsafe {
            if !terminal.is_null() {
                libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, terminal);
            }
            libc::_exit(130)
        };
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
