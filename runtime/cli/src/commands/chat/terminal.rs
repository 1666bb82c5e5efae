//! The terminal that `chat` talks at: its width, and whether it shows what is typed.
//!
//! In: the descriptors of standard input and output. Out: columns; typed characters stay unseen, and in the terminal's
//! queue, until they are read. Invariant: the terminal is as it was when the program ends, by Ctrl-C too.

use std::mem::MaybeUninit;

use crate::interrupt;

/// Columns of the terminal at standard output; unlimited if it does not tell.
pub(super) fn width() -> usize {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the pointer is to a local of the type that this request fills; all zeros are a valid value of it.
    let columns = unsafe {
        let done = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr());
        if done == 0 {
            size.assume_init().ws_col
        } else {
            0
        }
    };
    match columns {
        0 => usize::MAX,
        n => usize::from(n),
    }
}

/// Keeps what is typed unseen until it is read, so that it does not stand amid an answer.
pub(super) struct Quiet {
    before: libc::termios,
}

impl Quiet {
    /// Begins now; none if standard input is no terminal.
    pub(super) fn begin() -> Option<Quiet> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: the pointer is to a local, which the call fills if it succeeds.
        let before = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) != 0 {
                return None;
            }
            before.assume_init()
        };
        interrupt::restore_at_end(Some(before));
        let quiet = Quiet { before };
        quiet.resume();
        Some(quiet)
    }

    /// Shows again what is typed, line by line.
    pub(super) fn pause(&self) {
        set(&self.before);
    }

    /// Ends a [`pause`](Quiet::pause).
    pub(super) fn resume(&self) {
        let mut quiet = self.before;
        // Without lines (ICANON) a line that is half typed is not lost to the next reader. Ctrl-C still works.
        quiet.c_lflag &= !(libc::ECHO | libc::ICANON);
        set(&quiet);
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.pause();
        interrupt::restore_at_end(None);
    }
}

fn set(state: &libc::termios) {
    // SAFETY: the pointer is to a valid value. A terminal that is gone has no state to set.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, state) };
}
