//! What an executable is: its code, its identity, its file. In: what the generated `main` hands over. Out:
//! the same, as one value that every command gets. Invariant: constants of the program; nothing a user
//! can set belongs here (that is `cli.rs`).

use std::path::PathBuf;

use qwenc_abi::{Identity, ModelInfo};

/// What the executable is.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its code.
    pub model: &'a ModelInfo,
    /// Which code and weights these are.
    pub identity: &'a Identity,
    /// Its file.
    pub executable: PathBuf,
}
