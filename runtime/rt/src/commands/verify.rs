//! `verify`: whether the image is what the code was compiled for, to the byte.
//!
//! In: the image. Out: "ok", or an error with both hashes. Invariant: every byte of the sections is
//! hashed, in the order weights, tokenizer, metadata.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::console::Console;
use crate::error::{Error, Result};
use crate::image::{hex, Image};
use crate::program::Program;

/// Runs the command.
pub fn run(program: &Program, weights: Option<&Path>, console: &mut Console) -> Result<()> {
    let image = Image::find(weights, &program.executable, program.model, program.identity)?;
    let found = sections_sha256(&image);
    let expected = program.identity.weights_id;
    if found != expected {
        return Err(Error::Damaged { expected: hex(&expected), found: hex(&found) });
    }
    let bytes = image.weights().len() + image.tokenizer().len() + image.metadata_bytes().len();
    console.print(&format!("ok: {} ({bytes} bytes) has SHA-256 {}\n", image.path().display(), hex(&expected)))
}

fn sections_sha256(image: &Image) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(image.weights());
    hash.update(image.tokenizer());
    hash.update(image.metadata_bytes());
    hash.finalize().into()
}
