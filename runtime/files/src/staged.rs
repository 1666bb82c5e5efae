//! One output file, which appears when it is whole.
//!
//! In: a path, bytes. Out: the file. Invariant: nothing stands at the path, and nothing there is replaced, until
//! [`Staged::finish`]; what is not finished is removed. A link at the path stays, and its target is replaced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::scratch::{folder_of, Scratch};

const NAME: &str = "output";
/// Most links that Linux follows.
const MOST_LINKS: usize = 40;

/// A file in the making.
#[derive(Debug)]
pub struct Staged {
    scratch: Scratch,
    file: File,
    target: PathBuf,
}

impl Staged {
    /// An empty file that will be at `output`.
    pub fn create(output: &Path) -> io::Result<Staged> {
        let target = link_target(output)?;
        let scratch = Scratch::beside(&target)?;
        let file = File::create_new(scratch.path().join(NAME))?;
        Ok(Staged { scratch, file, target })
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts the file in its place.
    pub fn finish(self) -> io::Result<()> {
        self.scratch.place(NAME, &self.target)
    }
}

/// The path at the end of all links that `path` is, whether there is something or not.
pub fn link_target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match target.symlink_metadata() {
            Ok(found) if found.is_symlink() => {
                let next = target.read_link()?;
                target = folder_of(&target).join(next);
            }
            _ => return Ok(target),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_appears_before_the_end_and_links_stay() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("far")).expect("made");
        fs::write(at("far/old"), "old").expect("written");
        symlink("far/old", at("link")).expect("linked");
        symlink("link", at("second")).expect("linked");
        symlink("far/new", at("dangling")).expect("linked");
        symlink("loop", at("loop")).expect("linked");
        for (output, target) in [("second", "far/old"), ("dangling", "far/new"), ("plain", "plain")] {
            let before = fs::read_to_string(at(target)).ok();
            let mut dropped = Staged::create(&at(output)).expect("made");
            dropped.file().write_all(b"half").expect("written");
            drop(dropped);
            assert_eq!(fs::read_to_string(at(target)).ok(), before, "{output}");
            let mut staged = Staged::create(&at(output)).expect("made");
            staged.file().write_all(b"whole").expect("written");
            assert_eq!(fs::read_to_string(at(target)).ok(), before, "{output}");
            staged.finish().expect("finished");
            assert_eq!(fs::read_to_string(at(target)).expect("read"), "whole", "{output}");
        }
        assert!(at("second").is_symlink() && at("link").is_symlink() && at("dangling").is_symlink());
        assert!(Staged::create(&at("loop")).is_err());
        assert_eq!(fs::read_dir(at("far")).expect("a folder").count(), 2);
    }
}
