//! Paths of the machine that builds the runtime, overwritten in its archive.
//!
//! In: an archive. Out: the same with another text of the same length in the place of each path. Invariant: no offset and no
//! length changes; only where a path goes on behind the folder, with a `/`, is it overwritten.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{env, fs};

/// Length of the shortest folder that is overwritten, in bytes: `/` and `/opt` say nothing of a machine.
const SHORTEST: usize = 5;

/// Overwrites paths below cargo's folder, the workspace and the home folder.
pub fn overwrite(archive: &Path, root: &Path) -> std::io::Result<()> {
    let home = env::var_os("HOME").unwrap_or_default();
    let cargo = env::var_os("CARGO_HOME").unwrap_or_else(|| Path::new(&home).join(".cargo").into());
    let mut bytes = fs::read(archive)?;
    // Folders within others come first.
    let mut folders = [(cargo.as_os_str(), "/cargo"), (root.as_os_str(), "/qwenc"), (&home, "/home")];
    folders.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
    for (folder, name) in folders {
        replace(&mut bytes, folder, name);
    }
    fs::write(archive, bytes)
}

fn replace(bytes: &mut [u8], folder: &OsStr, name: &str) {
    let folder = folder.as_bytes();
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    if folder.len() < SHORTEST {
        return;
    }
    let needle = [folder, b"/"].concat();
    let filled = name.bytes().chain(std::iter::repeat(b'_')).take(folder.len()).collect::<Vec<u8>>();
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&bytes[at..], &needle) {
        let start = at + found;
        bytes[start..start + filled.len()].copy_from_slice(&filled);
        at = start + needle.len();
    }
}
