//! The weights image: packed weights, tokenizer, metadata, footer.
//!
//! In: a plan, tensors, texts, a file. Out: the image in that file from some page on, written once from front to back while
//! being hashed. Invariant: the hash is of exactly the bytes that the image has.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::thread;

use qwenc_abi::{Footer, Identity, Section, FOOTER_BYTES, PAGE};
use qwenc_ir::{Checked, WeightSource};
use qwenc_plan::{pack, Dictionaries, PackError, Plan};
use sha2::{Digest, Sha256};

use crate::blocks::{BlockWriter, BLOCK};
use crate::error::LinkError;

/// Content of an image.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// Order and formats of the packed weights.
    pub plan: &'a Checked<Plan>,
    /// Values of the weights.
    pub source: &'a dyn WeightSource,
    /// Dictionaries of compressed weights, where they were made before.
    pub dictionaries: &'a Dictionaries,
    /// tokenizer.json, or what `qwenc-bpe` makes of it; may be empty.
    pub tokenizer: &'a [u8],
    /// JSON object about the model.
    pub metadata: &'a [u8],
}

/// Blocks that may wait for the thread that writes.
const QUEUE: usize = 4;

impl Content<'_> {
    /// Packs weights and texts to `out`; gives their hash.
    fn pack(&self, mut out: Hashed, progress: &mut dyn FnMut(u64)) -> Result<[u8; 32], PackError> {
        pack(self.plan, (self.source, self.dictionaries), &mut out, progress)?;
        out.write_all(self.tokenizer)?;
        out.write_all(self.metadata)?;
        Ok(out.finish()?)
    }

    /// Writes the image for the code with this hash to `file` at `start`, a multiple of [`PAGE`]. `path` names the file in
    /// errors, `progress` is told bytes of weights written. Gives the image's identity and length, footer included.
    pub(crate) fn write(
        &self,
        (file, start): (File, u64),
        path: &Path,
        code_id: [u8; 32],
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Identity, u64), LinkError> {
        let failed = || LinkError::io(path, "writing the weights image");
        let (hash, mut to) = thread::scope(|scope| {
            let (send, receive) = sync_channel(QUEUE);
            let writer = scope.spawn(move || write_blocks(receive, BlockWriter::new(file, start)));
            let packed = self.pack(Hashed { hash: Sha256::new(), block: Vec::new(), to: send }, progress);
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // If the writer failed, it is why the other side stopped.
            let to = written.map_err(failed())?;
            let hash = packed.map_err(|error| match error {
                PackError::Io(source) => failed()(source),
                other => LinkError::Pack(other),
            })?;
            Ok((hash, to))
        })?;
        let weights = Section { offset: 0, bytes: self.plan.weights_bytes };
        let tokenizer = Section { offset: weights.bytes, bytes: self.tokenizer.len() as u64 };
        let metadata =
            Section { offset: tokenizer.offset + tokenizer.bytes, bytes: self.metadata.len() as u64 };
        let end = metadata.offset + metadata.bytes;
        // Whole pages, so that the image keeps its alignment wherever it stands.
        let bytes = (end + FOOTER_BYTES as u64).next_multiple_of(PAGE);
        let identity = Identity { code_id, weights_id: hash };
        let footer = Footer { image_bytes: bytes, weights, tokenizer, metadata, identity };
        let padding = vec![0; (bytes - end) as usize - FOOTER_BYTES];
        to.write_all(&padding).map_err(failed())?;
        to.write_all(&footer.encode()).map_err(failed())?;
        to.finish().map_err(failed())?;
        Ok((identity, bytes))
    }
}

/// Writes blocks as they come.
fn write_blocks(blocks: Receiver<Vec<u8>>, mut to: BlockWriter) -> io::Result<BlockWriter> {
    for block in blocks {
        to.write_all(&block)?;
    }
    Ok(to)
}

/// Hashes bytes and hands them to the thread that writes.
struct Hashed {
    hash: Sha256,
    /// Bytes that are not handed over yet.
    block: Vec<u8>,
    to: SyncSender<Vec<u8>>,
}

impl Hashed {
    /// Hands over the rest; gives the hash.
    fn finish(mut self) -> io::Result<[u8; 32]> {
        self.hand_over()?;
        Ok(self.hash.finalize().into())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        self.hash.update(&self.block);
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        self.to.send(block).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
