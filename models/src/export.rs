//! A checkpoint to a model.bin.
//!
//! In: an open checkpoint, a path, a choice of weight types. Out: the file and a report. Invariant: the file
//! appears under its name only when it is whole; the same input gives the same bytes. Values are
//! converted on the calling thread while a second one hashes and writes, a few megabytes behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};

use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::convert::{convert, CHUNK_VALUES};
use crate::error::Result;
use crate::header::{Header, HEADER_BYTES};
use crate::own_types::chosen_types;
use crate::payload_layout::{plan, Layout};
use crate::quant::Quant;
use crate::temporary::Temporary;
use crate::weight_types::WeightTypes;

/// Chunks that may wait for the writer.
const QUEUE: usize = 4;

/// Report of an export.
#[derive(Clone, Debug)]
pub struct ExportReport {
    /// The file.
    pub path: PathBuf,
    /// Formats of the matrices.
    pub types: WeightTypes,
    /// Tensors, scales counted apart.
    pub tensors: usize,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// SHA-256 of all bytes after the header.
    pub payload_hash: [u8; 32],
    /// Warnings for the driver to print.
    pub warnings: Vec<String>,
}

/// Called with bytes done and bytes in total; sources hashed and payload written both count.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Bytes done so far, and whom to tell.
struct Meter<'a> {
    done: u64,
    total: u64,
    tell: Progress<'a>,
}

impl Meter<'_> {
    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        (self.tell)(self.done.min(self.total), self.total);
    }
}

/// Writes `out`, replacing a file of that name. Without a `quant`, each matrix keeps its type where kernels read that
/// type, and else gets one that they read (`own_types.rs`).
pub fn export(
    checkpoint: &Checkpoint,
    out: &Path,
    quant: Option<Quant>,
    progress: Progress,
) -> Result<ExportReport> {
    let (types, notes) = chosen_types(checkpoint, quant)?;
    let source_bytes: u64 = checkpoint.sources().iter().map(|(_, b)| b.len() as u64).sum();
    // The layout follows the source hashes, so the total is a guess from the layout without them.
    let guess = plan(checkpoint, &types, &BTreeMap::new(), out)?;
    let total = source_bytes + guess.json_header.len() as u64 + guess.data_bytes;
    qwenc_files::require(out, file_bytes(&guess))?;
    let mut meter = Meter { done: 0, total, tell: progress };
    let sources = checkpoint.source_hashes(&mut |bytes| meter.add(bytes));
    let layout = plan(checkpoint, &types, &sources, out)?;
    meter.total = source_bytes + layout.json_header.len() as u64 + layout.data_bytes;

    let mut temporary = Temporary::create(out)?;
    temporary.write(&[0; HEADER_BYTES])?;
    let payload_hash = write_payload(checkpoint, &layout, &mut temporary, &mut meter)?;
    let payload_bytes = layout.json_header.len() as u64 + layout.data_bytes;
    let header = Header::new(checkpoint.config(), payload_bytes, payload_hash);
    temporary.write_first(&header.encode())?;
    temporary.finish()?;
    Ok(ExportReport {
        path: out.to_path_buf(),
        types,
        tensors: layout.entries,
        file_bytes: HEADER_BYTES as u64 + payload_bytes,
        payload_hash,
        warnings: [checkpoint.side_files().warnings.as_slice(), &notes].concat(),
    })
}

fn file_bytes(layout: &Layout) -> u64 {
    HEADER_BYTES as u64 + layout.json_header.len() as u64 + layout.data_bytes
}

/// Writes everything after the header; returns its SHA-256.
fn write_payload(
    checkpoint: &Checkpoint,
    layout: &Layout,
    temporary: &mut Temporary,
    meter: &mut Meter,
) -> Result<[u8; 32]> {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(QUEUE);
        let writer = scope.spawn(move || write_chunks(receive, temporary));
        let converted = convert_all(checkpoint, layout, &send, meter);
        drop(send);
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // If the writer failed, it is why the other side stopped.
        let hash = written?;
        converted.map(|_| hash)
    })
}

fn write_chunks(receive: Receiver<Vec<u8>>, temporary: &mut Temporary) -> Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    for chunk in receive {
        temporary.write(&chunk)?;
        hasher.update(&chunk);
    }
    Ok(hasher.finalize().into())
}

/// Stops early, without an error, if the writer has gone.
fn convert_all(
    checkpoint: &Checkpoint,
    layout: &Layout,
    send: &SyncSender<Vec<u8>>,
    meter: &mut Meter,
) -> Result<()> {
    let mut emit = |chunk: Vec<u8>| {
        meter.add(chunk.len());
        send.send(chunk).is_ok()
    };
    if !emit(layout.json_header.clone()) {
        return Ok(());
    }
    for item in &layout.items {
        if !convert(checkpoint, item, (&mut emit, CHUNK_VALUES))? {
            return Ok(());
        }
    }
    Ok(())
}
