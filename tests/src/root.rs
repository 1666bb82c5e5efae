//! Programs in a root folder of their own. In: files for it, a command. Out: what the command did.
//!
//! Invariant: a program there sees nothing else of the machine's files: no /dev, no /proc, no /etc, no shared library but
//! those that were put there. Where the system allows no such folder a test is skipped aloud, and fails where
//! `QWENC_TESTS_SKIP_NOTHING` is set.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::run;
use crate::variants::folder;

/// A root folder.
#[derive(Debug)]
pub struct Root(PathBuf);

impl Root {
    /// An empty one; none where the system allows none.
    pub fn new() -> Option<Root> {
        let root = Root(folder());
        // An executable that is not there: changing the root comes first.
        match root.command("/nothing").spawn() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Some(root),
            other => {
                let whole = std::env::var_os("QWENC_TESTS_SKIP_NOTHING").is_some();
                assert!(!whole, "a root folder of its own needs root or user namespaces: {other:?}");
                println!("SKIPPED: a root folder of its own needs root or user namespaces: {other:?}");
                None
            }
        }
    }

    /// Path outside the root of a file inside it.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside.trim_start_matches('/'))
    }

    /// Copies a file there.
    pub fn put(&self, from: &Path, inside: &str) {
        let to = self.path(inside);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }

    /// Copies a program there, and the shared libraries that it needs.
    pub fn put_with_libraries(&self, program: &Path, inside: &str) {
        self.put(program, inside);
        let listed = run(Command::new("ldd").arg(program)).ok();
        // `NAME => PATH (ADDRESS)`, and the loader's path alone.
        for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            self.put(Path::new(path), path);
        }
    }

    /// A program of that root, started in it without any environment.
    pub fn command(&self, program: &str) -> Command {
        let path = std::ffi::CString::new(self.0.as_os_str().as_bytes()).unwrap();
        let mut command = Command::new(program);
        command.env_clear();
        // SAFETY: between fork and exec only system calls are made, with a string that was made before.
        unsafe {
            command.pre_exec(move || {
                // Without root's rights a user namespace lends them.
                let may = libc::geteuid() == 0 || libc::unshare(libc::CLONE_NEWUSER) == 0;
                match may && libc::chroot(path.as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 {
                    true => Ok(()),
                    false => Err(io::Error::last_os_error()),
                }
            })
        };
        command
    }
}
