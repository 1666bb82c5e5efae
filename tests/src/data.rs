//! Places of the tests' data. In: names of golden cases. Out: paths.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The checkpoint folder of a golden case.
pub fn folder(case: &str) -> PathBuf {
    root().join("models/tests/data/golden").join(case)
}
