//! The weights image: packed weights, tokenizer, metadata, footer.
//!
//! In: a plan, tensors, texts. Out: a file, written once from front to back while being hashed.
//! Invariant: runs of zeros become holes where the file system has them.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use qwenc_abi::{Footer, Identity, Section, FOOTER_BYTES, PAGE};
use qwenc_ir::{Checked, WeightSource};
use qwenc_plan::{pack, Plan};
use sha2::{Digest, Sha256};

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
        let mut out = Hashed { to: SparseWriter::new(file, 0), hash: Sha256::new() };
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
        let mut image =
            File::open(&self.path).map_err(LinkError::io(&self.path, "reading the weights image"))?;
        let mut file = File::options().write(true).open(executable).map_err(failed())?;
        let start = file.seek(SeekFrom::End(0)).map_err(failed())?.next_multiple_of(PAGE);
        file.seek(SeekFrom::Start(start)).map_err(failed())?;
        let mut out = SparseWriter::new(file, start);
        copy(&mut image, &mut out).map_err(failed())?;
        out.finish().map_err(failed())
    }
}

fn copy(from: &mut File, to: &mut SparseWriter) -> io::Result<()> {
    let mut block = vec![0u8; SparseWriter::BLOCK];
    loop {
        match io::Read::read(from, &mut block)? {
            0 => return Ok(()),
            n => to.write_all(&block[..n])?,
        }
    }
}

/// Writes through to a file and hashes what it wrote.
struct Hashed {
    to: SparseWriter,
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

/// Seeks over long runs of zeros instead of writing them.
struct SparseWriter {
    file: BufWriter<File>,
    at: u64,
}

impl SparseWriter {
    const BLOCK: usize = 1 << 16;

    fn new(file: File, at: u64) -> SparseWriter {
        SparseWriter { file: BufWriter::with_capacity(1 << 20, file), at }
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        // A file that ends in a hole needs its length set.
        self.file.get_ref().set_len(self.at)
    }
}

impl Write for SparseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(Self::BLOCK);
        if n == Self::BLOCK && bytes[..n].iter().all(|&b| b == 0) {
            self.file.seek(SeekFrom::Current(n as i64))?;
        } else {
            self.file.write_all(&bytes[..n])?;
        }
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
