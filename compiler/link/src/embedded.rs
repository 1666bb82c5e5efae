//! Files inside qwenc: the runtime, the C library's archives and startup objects, stand-ins for shared libraries.
//!
//! In: a name. Out: its contents. Invariant: the set is that of the build script; a name that it lacks is an error, not a panic.

use std::io::Read;
use std::path::Path;

use flate2::bufread::ZlibDecoder;

use crate::error::LinkError;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The runtime.
pub const RUNTIME: &str = "libqwenc_rt.a";

/// Whether there is a runtime; qwenc can be built without, and then links nothing.
pub fn has_runtime() -> bool {
    files().iter().any(|(name, _)| *name == RUNTIME)
}

/// A file's contents.
pub fn unpacked(name: &str) -> Result<Vec<u8>, LinkError> {
    let packed = files().iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes);
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "this qwenc was built without it");
    let mut whole = Vec::new();
    packed
        .ok_or_else(missing)
        .and_then(|packed| ZlibDecoder::new(packed).read_to_end(&mut whole))
        .map_err(LinkError::io(Path::new(name), "unpacking what qwenc links with"))?;
    Ok(whole)
}

/// Stand-ins for the shared libraries that a dynamic executable needs.
pub fn stubs() -> impl Iterator<Item = &'static str> {
    files().iter().map(|(name, _)| *name).filter(|name| name.contains(".so."))
}

/// Archives of the C library for a static executable.
pub fn c_library() -> impl Iterator<Item = &'static str> {
    let others = [RUNTIME, NOT_SHARED];
    files().iter().map(|(name, _)| *name).filter(move |name| name.ends_with(".a") && !others.contains(name))
}

/// The part of the C library that is no part of its shared form.
pub const NOT_SHARED: &str = "libc_nonshared.a";
