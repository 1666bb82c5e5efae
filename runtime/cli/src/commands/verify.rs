//! `verify`: whether the image is what the code was compiled for, to the byte.
//!
//! In: the image, and the kernels where the code is for GPUs. Out: "ok", or an error with both hashes. Invariant:
//! every byte of the sections is hashed, in the order weights, tokenizer, metadata, and all others of the image are 0.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::image::{hex, Image};
use qwenc_engine::inference::cuda::bundle::Bundle;
use qwenc_engine::program::{Code, Program};

/// Runs the command.
pub fn run(program: &Program, weights: Option<&Path>, console: &mut Console) -> Result<()> {
    let bytes = program.code.sizes().weights_bytes;
    let image = Image::find(weights, &program.executable, bytes, program.identity)?;
    if let Code::Cuda(bundle) = program.code {
        code(program, bundle)?;
    }
    let found = sections_sha256(&image);
    let expected = program.identity.weights_id;
    check("image", expected, found)?;
    image.check_unused()?;
    let bytes = image.weights().len() + image.tokenizer().len() + image.metadata_bytes().len();
    console.print(&format!("ok: {} ({bytes} bytes) has SHA-256 {}\n", image.path().display(), hex(&expected)))
}

/// Refuses CUDA code that is not what was linked: its numbers say what kernels read and write.
pub fn code(program: &Program, bundle: &Bundle) -> Result<()> {
    check("CUDA code", program.identity.code_id, Sha256::digest(bundle.bytes()).into())
}

fn check(what: &'static str, expected: [u8; 32], found: [u8; 32]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Damaged { what, expected: hex(&expected), found: hex(&found) })
}

fn sections_sha256(image: &Image) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(image.weights());
    hash.update(image.tokenizer());
    hash.update(image.metadata_bytes());
    hash.finalize().into()
}
