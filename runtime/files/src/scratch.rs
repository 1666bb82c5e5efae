//! Temporary folders that do not outlive their process for long.
//!
//! In: the folder of an output. Out: a folder in it, named `.qwenc-` and six random characters, for this process alone.
//! Invariant: it is removed on every way out of the process but SIGKILL and the like; what these leave behind is
//! removed when the next scratch folder is made in the same place. A folder is removed only if it carries this
//! program's mark, belongs to the same user, and no process holds its lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use tempfile::TempDir;

const PREFIX: &str = ".qwenc-";
const LOCK: &str = "lock";
/// Content of the lock file, written once the lock is held.
const MARK: &[u8] = b"temporary folder of qwenc: removed when no process holds the lock of this file\n";

/// Folders of this process that still exist.
static LIVING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    // Dropped in this order: the folder is gone before its lock is.
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// A folder on the file system of `output`, beside it.
    pub fn beside(output: &Path) -> io::Result<Scratch> {
        Scratch::within(folder_of(output))
    }

    /// A folder for what is never moved elsewhere, where the system keeps such.
    pub fn anywhere() -> io::Result<Scratch> {
        Scratch::within(&std::env::temp_dir())
    }

    /// A folder in `parent`, after removing those that killed processes have left there.
    pub fn within(parent: &Path) -> io::Result<Scratch> {
        // An absent parent is told in the system's words, without a name that was made up.
        fs::metadata(parent)?;
        sweep(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let mut lock = File::create_new(folder.path().join(LOCK))?;
        // Without the mark, on a file system without locks, no later process removes it.
        if lock.try_lock().is_ok() {
            lock.write_all(MARK)?;
        }
        living(|all| all.push(folder.path().to_path_buf()));
        Ok(Scratch { folder, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves a finished file of this folder to `target`, at once. A file that is replaced hands on its permission
    /// bits; a program stays executable for all that may read it.
    pub fn place(&self, name: &str, target: &Path) -> io::Result<()> {
        let finished = self.path().join(name);
        if let Some(old) = target.metadata().ok().filter(|m| m.is_file()) {
            let mut mode = old.permissions().mode() & 0o777;
            if finished.metadata()?.permissions().mode() & 0o100 != 0 {
                mode |= (mode & 0o444) >> 2;
            }
            fs::set_permissions(&finished, fs::Permissions::from_mode(mode))?;
        }
        fs::rename(&finished, target)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        living(|all| all.retain(|path| path != self.folder.path()));
    }
}

fn living<T>(change: impl FnOnce(&mut Vec<PathBuf>) -> T) -> T {
    change(&mut LIVING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Removes every scratch folder of this process, which is about to end.
pub fn remove_all() {
    living(|all| {
        for path in all.drain(..) {
            // Errors are ignored: the process is ending.
            let _ = fs::remove_dir_all(path);
        }
    });
}

/// The folder that a file is in, or would be; `.` for a bare name.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes the scratch folders in `parent` whose processes are gone. What cannot be read or removed stays.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            if let Some(_lock) = abandoned(&entry.path()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// The lock of a scratch folder that no process holds any more.
fn abandoned(folder: &Path) -> Option<File> {
    let own = folder.symlink_metadata().ok()?;
    if !own.is_dir() || own.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let path = folder.join(LOCK);
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut lock = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut mark = Vec::new();
    Read::by_ref(&mut lock).take(MARK.len() as u64 + 1).read_to_end(&mut mark).ok()?;
    (mark == MARK && lock.try_lock().is_ok()).then_some(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut all: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        let folder = |name: &str, mark: &[u8]| {
            fs::create_dir(at(name)).expect("made");
            fs::write(at(name).join(LOCK), mark).expect("made");
            fs::write(at(name).join("weights"), [0; 4096]).expect("made");
        };
        // A killed process leaves mark and content; its lock is gone with it.
        folder(".qwenc-killed", MARK);
        folder(".qwenc-notes", b"notes of a user\n");
        folder(".qwenc-longer", &[MARK, b"x"].concat());
        folder("qwenc-other", MARK);
        fs::create_dir(at(".qwenc-empty")).expect("made");
        fs::write(at(".qwenc-file"), MARK).expect("made");
        std::os::unix::fs::symlink("qwenc-other", at(".qwenc-link")).expect("made");
        let living = Scratch::within(place.path()).expect("made");
        let own = living.path().file_name().expect("a name").to_string_lossy().into_owned();
        let second = Scratch::within(place.path()).expect("made");
        assert!(living.path().join(LOCK).is_file());
        drop(second);
        let mut left: Vec<String> =
            [".qwenc-notes", ".qwenc-longer", "qwenc-other", ".qwenc-empty", ".qwenc-file", ".qwenc-link"]
                .map(String::from)
                .to_vec();
        left.push(own);
        left.sort();
        assert_eq!(names(place.path()), left);
        assert!(at("qwenc-other").join("weights").is_file());
        drop(living);
        assert_eq!(names(place.path()).len(), 6);
    }

    #[test]
    fn a_folder_in_use_by_another_process_stays() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join(".qwenc-other1");
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join(LOCK), MARK).expect("made");
        // `flock` says on its standard output that it holds the lock, then waits for the end of its input.
        let mut other = std::process::Command::new("flock")
            .arg(folder.join(LOCK))
            .args(["sh", "-c", "echo held; cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("util-linux has flock");
        let mut said = [0; 5];
        other.stdout.as_mut().expect("piped").read_exact(&mut said).expect("held");
        drop(Scratch::within(place.path()).expect("made"));
        assert!(folder.is_dir());
        drop(other.stdin.take());
        assert!(other.wait().expect("ended").success());
        drop(Scratch::within(place.path()).expect("made"));
        assert!(!folder.exists());
    }

    #[test]
    fn permission_bits_are_kept_and_programs_stay_programs() {
        let place = tempfile::tempdir().expect("a folder");
        let target = place.path().join("out");
        let placed = |new: u32, old: Option<u32>| {
            let _ = fs::remove_file(&target);
            if let Some(old) = old {
                fs::write(&target, "old").expect("written");
                fs::set_permissions(&target, fs::Permissions::from_mode(old)).expect("set");
            }
            let scratch = Scratch::beside(&target).expect("made");
            let made = scratch.path().join("made");
            fs::write(&made, "new").expect("written");
            fs::set_permissions(&made, fs::Permissions::from_mode(new)).expect("set");
            scratch.place("made", &target).expect("placed");
            target.metadata().expect("there").permissions().mode() & 0o7777
        };
        assert_eq!(placed(0o644, None), 0o644);
        assert_eq!(placed(0o644, Some(0o600)), 0o600);
        assert_eq!(placed(0o644, Some(0o664)), 0o664);
        assert_eq!(placed(0o755, Some(0o600)), 0o700);
        assert_eq!(placed(0o755, Some(0o640)), 0o750);
        assert_eq!(placed(0o755, Some(0o4755)), 0o755);
        assert_eq!(fs::read_to_string(&target).expect("read"), "new");
        assert_eq!(names(place.path()), ["out"]);
    }
}
