//! Files that are opened to be read.
//!
//! In: a path. Out: an open regular file. Invariant: opening never waits: a pipe, a socket, a device or a folder is
//! refused by its kind before it is opened.

use std::fmt;
use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The kind of thing that was found where a regular file was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRegular {
    /// `a folder`, `a pipe`, ...
    pub found: &'static str,
}

impl NotRegular {
    fn of(kind: FileType) -> Option<NotRegular> {
        let found = match kind {
            _ if kind.is_file() => return None,
            _ if kind.is_dir() => "a folder",
            _ if kind.is_fifo() => "a pipe",
            _ if kind.is_socket() => "a socket",
            _ if kind.is_block_device() || kind.is_char_device() => "a device",
            _ => "something else",
        };
        Some(NotRegular { found })
    }
}

impl fmt::Display for NotRegular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a regular file, found {}", self.found)
    }
}

impl std::error::Error for NotRegular {}

fn check(kind: FileType) -> io::Result<()> {
    match NotRegular::of(kind) {
        None => Ok(()),
        Some(other) => Err(io::Error::new(io::ErrorKind::InvalidInput, other)),
    }
}

/// Opens a regular file to be read; links are followed.
pub fn regular(path: &Path) -> io::Result<File> {
    // Opening a device can have effects of its own, so it is not even tried.
    check(path.metadata()?.file_type())?;
    let nonblock = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    // The path may have come to mean something else meanwhile.
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Whether a path names a stream that the caller's shell has opened, such as `/dev/stdin` or `/dev/fd/63`.
pub fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || ["/dev/fd", "/proc/self/fd"].iter().any(|under| path.starts_with(under))
}

/// Opens a text to be read to its end: a regular file, or a stream of the caller's shell, which may be a pipe.
pub fn text_stream(path: &Path) -> io::Result<File> {
    match is_descriptor(path) {
        true => File::open(path),
        false => regular(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_are_opened_and_nothing_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "text").expect("a file");
        std::os::unix::fs::symlink("file", path("link")).expect("a link");
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("mkfifo").success());
        std::os::unix::fs::symlink("pipe", path("link to pipe")).expect("a link");
        let _socket = UnixListener::bind(path("socket")).expect("a socket");
        for good in ["file", "link"] {
            assert_eq!(io::read_to_string(regular(&path(good)).expect(good)).expect(good), "text");
        }
        let found = |path: &Path| regular(path).expect_err("refused").to_string();
        for (name, what) in
            [("pipe", "a pipe"), ("link to pipe", "a pipe"), ("socket", "a socket"), (".", "a folder")]
        {
            assert_eq!(found(&path(name)), format!("expected a regular file, found {what}"), "{name}");
            assert!(text_stream(&path(name)).is_err(), "{name}");
        }
        assert_eq!(found(Path::new("/dev/null")), "expected a regular file, found a device");
        assert_eq!(regular(&path("none")).expect_err("refused").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn streams_of_the_shell_are_known_by_their_names() {
        let (reader, writer) = io::pipe().expect("a pipe");
        use std::io::Write;
        use std::os::fd::AsRawFd;
        (&writer).write_all(b"from a pipe").expect("written");
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(
            io::read_to_string(text_stream(Path::new(&path)).expect("opened")).expect("read"),
            "from a pipe"
        );
        assert!(is_descriptor(Path::new("/dev/stdin")) && !is_descriptor(Path::new("/dev/null")));
    }
}
