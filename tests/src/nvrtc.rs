//! Folder of NVRTC. In: what scripts/setup-tests.sh has installed. Out: its folder.
//!
//! Invariant: a missing one fails the test with the way out.

use std::path::PathBuf;

use crate::data;

/// The folder of libnvrtc.so and its built-in functions.
pub fn folder() -> PathBuf {
    let root = data::root().join("target/nvidia/lib");
    let pythons = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut found = pythons.map(|python| python.path().join("site-packages/nvidia/cu13/lib"));
    found
        .find(|lib| lib.is_dir())
        .unwrap_or_else(|| panic!("no NVRTC in {}: run scripts/setup-tests.sh", root.display()))
}
