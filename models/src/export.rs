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
use crate::convert::convert;
use crate::error::Result;
use crate::header::{hex, Header, HEADER_BYTES};
use crate::own_types::own_types;
use crate::payload_layout::{plan, Layout};
use crate::quant::Quant;
use crate::temporary::Temporary;
use crate::types_by_role::TypesByRole;
use crate::weight_types::WeightTypes;

/// Values converted at a time.
const CHUNK_VALUES: usize = 1 << 20;
/// Chunks that may wait for the writer.
const QUEUE: usize = 4;

/// What was written.
#[derive(Clone, Debug)]
pub struct ExportReport {
    /// The file.
    pub path: PathBuf,
    /// How matrices are stored.
    pub types: WeightTypes,
    /// Tensors, scales counted apart.
    pub tensors: usize,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// SHA-256 of all bytes after the header.
    pub payload_hash: [u8; 32],
    /// What a person should know; for the driver to print.
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
    let (types, notes) = types(checkpoint, quant)?;
    let source_bytes: u64 = checkpoint.sources().iter().map(|(_, b)| b.len() as u64).sum();
    // The layout follows the source hashes, so the total is a guess from the layout without them.
    let guess = plan(checkpoint, &types, &BTreeMap::new(), out)?;
    let total = source_bytes + guess.json_header.len() as u64 + guess.data_bytes;
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    qwenc_files::require(folder, file_bytes(&guess))?;
    let mut meter = Meter { done: 0, total, tell: progress };
    let sources = hash_sources(checkpoint, &mut meter);
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
        warnings: [checkpoint.warnings(), &notes].concat(),
    })
}

fn types(checkpoint: &Checkpoint, quant: Option<Quant>) -> Result<(WeightTypes, Vec<String>)> {
    match quant {
        Some(quant) => {
            quant.check()?;
            Ok((WeightTypes::by_role(checkpoint.config(), TypesByRole::of(quant)), Vec::new()))
        }
        None => Ok(own_types(checkpoint)),
    }
}

fn file_bytes(layout: &Layout) -> u64 {
    HEADER_BYTES as u64 + layout.json_header.len() as u64 + layout.data_bytes
}

/// The size that [`export`] would give a file, but for some hundred bytes, and how its matrices would be stored.
pub fn exported_size(checkpoint: &Checkpoint, quant: Option<Quant>) -> Result<(u64, WeightTypes)> {
    let (types, _) = types(checkpoint, quant)?;
    Ok((file_bytes(&plan(checkpoint, &types, &BTreeMap::new(), Path::new("model.bin"))?), types))
}

fn hash_sources(checkpoint: &Checkpoint, meter: &mut Meter) -> BTreeMap<String, String> {
    let mut hashes = BTreeMap::new();
    for (name, bytes) in checkpoint.sources() {
        let mut hasher = Sha256::new();
        for chunk in bytes.chunks(CHUNK_VALUES * 8) {
            hasher.update(chunk);
            meter.add(chunk.len());
        }
        hashes.insert(name.to_string(), hex(&hasher.finalize()));
    }
    hashes
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

/// Stops early, without an error, if nobody receives any more.
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
