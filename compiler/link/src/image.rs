//! The weights image: packed weights, tokenizer, metadata, footer.
//!
//! In: a plan, tensors, texts. Out: a file, written once from front to back while being hashed.
//! Invariant: the hash is of exactly the bytes that the image has.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use qwenc_abi::{Footer, Identity, Section, FOOTER_BYTES, PAGE};
use qwenc_ir::{Checked, WeightSource};
use qwenc_plan::{pack, Plan};
use sha2::{Digest, Sha256};

use crate::blocks::{BlockWriter, BLOCK};
use crate::error::LinkError;

/// What the image holds beside weights.
#[derive(Clone, Copy, Debug)]
pub struct Assets<'a> {
    /// tokenizer.json, or what `qwenc-bpe` makes of it; may be empty.
    pub tokenizer: &'a [u8],
    /// JSON object about the model.
    pub metadata: &'a [u8],
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub identity: Identity,
    /// Its length, footer included.
    pub bytes: u64,
}

impl Image {
    /// Packs weights to a new file at `path` for the code with this hash; `progress` is told bytes of
    /// weights written.
    pub fn write(
        path: &Path,
        plan: &Checked<Plan>,
        source: &dyn WeightSource,
        assets: Assets,
        code_id: [u8; 32],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Image, LinkError> {
        let failed = LinkError::io(path, "creating the weights image");
        let file = File::create(path).map_err(failed)?;
        let mut out = Hashed { to: BlockWriter::new(file, 0), hash: Sha256::new() };
        pack(plan, source, &mut out, progress)
            .map_err(|source| LinkError::Pack { path: path.to_path_buf(), source })?;
        let failed = || LinkError::io(path, "writing the weights image");
        out.write_all(assets.tokenizer).map_err(failed())?;
        out.write_all(assets.metadata).map_err(failed())?;
        let weights = Section { offset: 0, bytes: plan.weights_bytes };
        let tokenizer = Section { offset: weights.bytes, bytes: assets.tokenizer.len() as u64 };
        let metadata =
            Section { offset: tokenizer.offset + tokenizer.bytes, bytes: assets.metadata.len() as u64 };
        let end = metadata.offset + metadata.bytes;
        // Whole pages, so that the image keeps its alignment wherever it is appended.
        let bytes = (end + FOOTER_BYTES as u64).next_multiple_of(PAGE);
        let identity = Identity { code_id, weights_id: out.hash.finalize().into() };
        let footer = Footer { image_bytes: bytes, weights, tokenizer, metadata, identity };
        let padding = vec![0; (bytes - end) as usize - FOOTER_BYTES];
        let mut to = out.to;
        to.write_all(&padding).map_err(failed())?;
        to.write_all(&footer.encode()).map_err(failed())?;
        to.finish().map_err(failed())?;
        Ok(Image { path: path.to_path_buf(), identity, bytes })
    }

    /// Appends the image to an executable or library, at the next page.
    pub(crate) fn append_to(&self, executable: &Path) -> Result<(), LinkError> {
        let failed = || LinkError::io(executable, "appending the weights");
        // Room is given back through a descriptor that may write.
        let mut image = File::options()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(LinkError::io(&self.path, "reading the weights image"))?;
        let file = File::options().write(true).open(executable).map_err(failed())?;
        let start = file.metadata().map_err(failed())?.len().next_multiple_of(PAGE);
        let mut out = BlockWriter::new(file, start);
        copy(&mut image, &mut out).map_err(failed())?;
        out.finish().map_err(failed())
    }
}

/// Copies the temporary file `from`, whose room is given back on the way: never are both there whole.
fn copy(from: &mut File, to: &mut BlockWriter) -> io::Result<()> {
    let mut block = vec![0u8; BLOCK];
    let mut released = 0;
    let mut read = 0;
    loop {
        match io::Read::read(from, &mut block)? {
            0 => return Ok(()),
            n => {
                to.write_all(&block[..n])?;
                read += n as u64;
            }
        }
        // Only whole blocks, which the writer has written by now.
        let whole = (read / BLOCK as u64).saturating_sub(1) * BLOCK as u64;
        if whole > released {
            qwenc_files::release(from, released, whole - released);
            released = whole;
        }
    }
}

/// Writes through to a file and hashes what it wrote.
struct Hashed {
    to: BlockWriter,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
