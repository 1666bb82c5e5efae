//! Room on a file system, asked for before the work and not found missing at its end.
//!
//! In: a folder, bytes. Out: whether they fit. Invariant: a file system that does not say its room refuses nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::scratch::folder_of;

/// Less room than a result needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Folder of the output.
    pub folder: PathBuf,
    /// Bytes that the result and what is made on the way take.
    pub needs: u64,
    /// Bytes that this user can still write.
    pub free: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needs, free) = (megabytes(self.needs), megabytes(self.free));
        write!(f, "{}: this needs {needs} of disk space, {free} are free", self.folder.display())?;
        write!(f, "; make room, or write to another disk with -o")
    }
}

impl std::error::Error for NoRoom {}

/// Bytes that this user can still write to the file system of `folder`.
pub fn available(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    // Some virtual file systems say that they have no blocks at all.
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Refuses work whose result, a file at `output`, does not fit on its disk.
pub fn require(output: &Path, needs: u64) -> Result<(), NoRoom> {
    let folder = folder_of(output);
    match available(folder) {
        Some(free) if free < needs => Err(NoRoom { folder: folder.to_path_buf(), needs, free }),
        _ => Ok(()),
    }
}

/// A size for people: `643 MB`, or `12.3 GB` from ten thousand megabytes on.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        10_000_000..10_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("output");
        assert_eq!(require(&output, 0), Ok(()));
        let refused = require(&output, u64::MAX).expect_err("no disk has that much");
        assert_eq!((refused.needs, refused.folder.as_path()), (u64::MAX, folder.path()));
        assert!(refused.free > 0);
        let said = NoRoom { folder: "/tmp".into(), needs: 643_000_000, free: 410_400_000 }.to_string();
        assert!(said.starts_with("/tmp: this needs 643 MB of disk space, 410 MB are free; "), "{said}");
        assert_eq!(require(Path::new("/proc/output"), u64::MAX), Ok(()));
    }

    #[test]
    fn sizes_read_well() {
        let shown = [0, 1_234_567, 12_345_678, 9_999_400_000, 10_000_000_000].map(megabytes);
        assert_eq!(shown, ["0.0 MB", "1.2 MB", "12 MB", "9999 MB", "10.0 GB"]);
    }
}
