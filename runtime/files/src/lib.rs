//! Files as compiler and executables read and write them.
//!
//! In: paths. Out: open regular files; outputs that appear under their name when they are whole; the room on a file
//! system. Invariant: nothing here blocks on a pipe or a device, follows a link to a temporary file, or removes what a
//! living process uses.

mod open;
mod scratch;
mod space;
mod staged;

pub use open::{is_descriptor, regular, text_stream, NotRegular};
pub use scratch::{folder_of, remove_all, Scratch};
pub use space::{available, megabytes, require, NoRoom};
pub use staged::{link_target, Staged};
