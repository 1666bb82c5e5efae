//! A program at a terminal. In: a command, keys. Out: what it shows, and how it ends.
//!
//! Invariant: no test waits for ever: what does not come within a minute fails the test with all that came.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running program, with us at its terminal.
pub struct Terminal {
    child: Child,
    keys: File,
    output: Receiver<Vec<u8>>,
    /// Everything shown.
    all: String,
    /// Length of the text that was waited for already.
    seen: usize,
}

impl Terminal {
    /// Starts a program at a terminal of 24 lines of 80 columns.
    pub fn start(command: &mut Command) -> Terminal {
        Terminal::of_columns(80, command)
    }

    /// Starts a program at a terminal of 24 lines.
    pub fn of_columns(columns: u16, command: &mut Command) -> Terminal {
        let (ours, theirs) = pair(columns);
        let end = || theirs.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        // SAFETY: both calls are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                // The terminal becomes its own, so that Ctrl-C reaches it.
                if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // What the command still holds of the terminal's other end.
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        drop(theirs);
        let keys = File::from(ours);
        let mut screen = keys.try_clone().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // At the end reading fails: the other end is closed.
            while let Ok(n @ 1..) = screen.read(&mut bytes) {
                if send.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keys, output, all: String::new(), seen: 0 }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown; returns what was since the last time, up to its end.
    pub fn shows(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.all[self.seen..].find(text) {
                let end = self.seen + at + text.len();
                let shown = self.all[self.seen..end].to_string();
                self.seen = end;
                return shown;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.output.recv_timeout(left) {
                // Characters that are cut are not waited for.
                Ok(bytes) => self.all += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("{text:?} did not come:\n{}", self.all),
            }
        }
    }

    /// Presses keys and waits for text.
    pub fn press_for(&mut self, keys: &str, text: &str) -> String {
        self.press(keys);
        self.shows(text)
    }

    /// Whether the terminal shows typed characters and hands them over line by line, as it does at the start.
    pub fn echoes(&self) -> bool {
        let mut state = std::mem::MaybeUninit::uninit();
        // SAFETY: the descriptor is open, and the call fills the local if it succeeds.
        let state: libc::termios = unsafe {
            assert_eq!(libc::tcgetattr(self.keys.as_raw_fd(), state.as_mut_ptr()), 0);
            state.assume_init()
        };
        let both = libc::ECHO | libc::ICANON;
        state.c_lflag & both == both
    }

    /// Waits for the end.
    pub fn ends(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.all);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pair(columns: u16) -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let mut size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (none, size) = (std::ptr::null_mut(), &raw mut size);
    // SAFETY: pointers are to locals, and both descriptors are ours.
    unsafe {
        assert_eq!(libc::openpty(&raw mut ours, &raw mut theirs, none, std::ptr::null_mut(), size), 0);
        // A program started meanwhile by another test must not keep them open.
        assert_eq!(libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC), 0);
        assert_eq!(libc::fcntl(theirs, libc::F_SETFD, libc::FD_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}
