//! Messages over a stream: a length, then that many bytes; with some a file descriptor goes along.
//!
//! In: bytes. Out: the same bytes at the other end. Invariant: a message has at most `LONGEST` bytes; what is longer, or ends
//! amid itself, is an error.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Longest message: a vocabulary of 500,000 tokens has a tenth of it.
const LONGEST: usize = 256 << 20;
/// Bytes of a length.
pub const HEAD: usize = 4;

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_le_bytes(), message].concat()
}

/// Writes a message.
pub fn write(mut stream: &UnixStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(message))
}

/// Reads a message; none at the end of the stream.
pub fn read(mut stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    match stream.read(&mut head)? {
        0 => Ok(None),
        read => rest(stream, head, read).map(Some),
    }
}

fn rest(mut stream: &UnixStream, mut head: [u8; HEAD], read: usize) -> io::Result<Vec<u8>> {
    stream.read_exact(&mut head[read..])?;
    let mut message = vec![0; length(head)?];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn length(head: [u8; HEAD]) -> io::Result<usize> {
    match u32::from_le_bytes(head) as usize {
        bytes if bytes <= LONGEST => Ok(bytes),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The first whole message among bytes that came in pieces, which is taken from them.
pub fn take(inbox: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(head) = inbox.first_chunk::<HEAD>() else { return Ok(None) };
    let end = HEAD + length(*head)?;
    if inbox.len() < end {
        return Ok(None);
    }
    let message = inbox[HEAD..end].to_vec();
    inbox.drain(..end);
    Ok(Some(message))
}

/// Writes a message with a descriptor.
pub fn write_with(stream: &UnixStream, message: &[u8], descriptor: RawFd) -> io::Result<()> {
    let mut bytes = framed(message);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control::new();
    let mut head = control.head(&mut part);
    // SAFETY: the control buffer has room for one descriptor, and all pointers are to live locals.
    let sent = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const head);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(descriptor);
        libc::sendmsg(stream.as_raw_fd(), &raw mut head, libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        // Messages with a descriptor are short: a part of one means that the stream is broken.
        Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Reads a message and the descriptor that came with it, if any; none at the end of the stream.
pub fn read_with(stream: &UnixStream) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut length = [0; HEAD];
    let mut part = libc::iovec { iov_base: length.as_mut_ptr().cast(), iov_len: HEAD };
    let mut control = Control::new();
    let mut head = control.head(&mut part);
    // SAFETY: as above; a descriptor that came is ours alone.
    let (read, descriptor) = unsafe {
        let read = libc::recvmsg(stream.as_raw_fd(), &raw mut head, libc::MSG_CMSG_CLOEXEC);
        let first = libc::CMSG_FIRSTHDR(&raw const head);
        let came = read > 0 && !first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS;
        let descriptor =
            came.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned()));
        (read, descriptor)
    };
    match usize::try_from(read) {
        Ok(0) => Ok(None),
        Ok(read) => Ok(Some((rest(stream, length, read)?, descriptor))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Room for one descriptor beside a message.
#[repr(align(8))]
struct Control([u8; 64]);

impl Control {
    fn new() -> Control {
        Control([0; 64])
    }

    fn head(&mut self, part: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: msghdr is plain data, for which zero is a value.
        let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
        (head.msg_iov, head.msg_iovlen) = (part, 1);
        head.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: it computes a size.
        head.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (a, b) = UnixStream::pair().unwrap();
        let (inner, other) = UnixStream::pair().unwrap();
        write(&a, b"plain").unwrap();
        write_with(&a, b"with", inner.as_raw_fd()).unwrap();
        write(&a, b"").unwrap();
        drop((a, inner));
        assert_eq!(read_with(&b).unwrap().map(|m| (m.0, m.1.is_some())), Some((b"plain".to_vec(), false)));
        let (message, descriptor) = read_with(&b).unwrap().unwrap();
        assert_eq!(message, b"with");
        write(&UnixStream::from(descriptor.unwrap()), b"through").unwrap();
        assert_eq!(read(&other).unwrap().unwrap(), b"through");
        assert_eq!(read(&b).unwrap(), Some(Vec::new()));
        assert_eq!(read(&b).unwrap(), None);
    }

    #[test]
    fn pieces_become_messages() {
        let bytes = [framed(b"one"), framed(b""), framed(b"three")].concat();
        let (mut inbox, mut all) = (Vec::new(), Vec::new());
        for byte in bytes {
            inbox.push(byte);
            all.extend(take(&mut inbox).unwrap());
        }
        assert_eq!(all, [&b"one"[..], b"", b"three"]);
        assert!(take(&mut vec![255; 8]).is_err());
    }
}
