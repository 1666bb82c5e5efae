//! A safetensors payload: all of a checkpoint's weight file, or what follows the header of a model.bin.
//!
//! In: bytes of a file, hostile until checked. Out: where each tensor lies. Invariant: every range of an
//! [`Entry`] is inside the file and exactly as long as its shape and type say; the safetensors crate has
//! checked offsets, overlaps and overflow. Nothing else in this crate may turn a file's number into a range.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::strict_json;

/// Longest JSON header that the safetensors format allows, in bytes.
pub(crate) const MAX_HEADER: u64 = 100_000_000;

/// One tensor.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Bytes within the file.
    pub range: Range<usize>,
}

impl Entry {
    /// `bf16[64, 128]`.
    pub fn describe(&self) -> String {
        format!("{}{:?}", name(self.dtype), self.shape)
    }
}

/// An element type in this project's spelling.
pub(crate) fn name(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// A parsed payload.
pub(crate) struct Payload {
    /// In the order of their bytes.
    pub entries: Vec<(String, Entry)>,
    pub metadata: HashMap<String, String>,
}

/// Parses the payload that fills `bytes` from offset `base` to the end.
pub(crate) fn read(file: &str, bytes: &[u8], base: usize) -> Result<Payload> {
    let (payload, data_bytes) = header(file, bytes, base)?;
    let (expected, found) = data_bytes;
    match expected == found {
        true => Ok(payload),
        false => Err(wrong_length(file, expected, found)),
    }
}

pub(crate) fn wrong_length(file: &str, expected: usize, found: usize) -> Error {
    bad(file, format!("data: expected {expected} bytes, found {found}"))
}

fn bad(file: &str, reason: String) -> Error {
    Error::Payload { file: file.to_string(), reason }
}

/// Parses the payload's header alone: ranges may lie past the end of the file. Also returns the bytes of
/// data that the header wants, and those that there are.
pub(crate) fn header(file: &str, bytes: &[u8], base: usize) -> Result<(Payload, (usize, usize))> {
    let payload = bytes.get(base..).unwrap_or_default();
    let Some((length, rest)) = payload.split_first_chunk::<8>() else {
        return Err(bad(file, format!("expected at least 8 bytes, found {}", payload.len())));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER || length > rest.len() as u64 {
        let limit = MAX_HEADER.min(rest.len() as u64);
        return Err(bad(file, format!("header length: expected at most {limit} bytes, found {length}")));
    }
    // Below the length of a slice, so it fits.
    let (header, data) = rest.split_at(length as usize);
    if let Some(first) = header.first().filter(|&&first| first != b'{') {
        return Err(bad(file, format!("header: expected `{{` as its first byte, found 0x{first:02x}")));
    }
    let text = std::str::from_utf8(header).map_err(|e| bad(file, format!("header: {e}")))?;
    strict_json::parse(file, text).map_err(|e| match e {
        Error::Json { source, .. } => bad(file, format!("header: {source}")),
        twice => twice,
    })?;
    let parsed: Metadata = serde_json::from_str(text).map_err(|e| bad(file, format!("header: {e}")))?;
    let start = bytes.len() - data.len();
    if start.checked_add(parsed.data_len()).is_none() {
        return Err(wrong_length(file, parsed.data_len(), data.len()));
    }
    let entry = |(name, info): (String, &TensorInfo)| {
        // No offset is past `data_len`, so the sums cannot overflow.
        let (from, to) = info.data_offsets;
        let range = start + from..start + to;
        (name, Entry { dtype: info.dtype, shape: info.shape.clone(), range })
    };
    let mut entries: Vec<(String, Entry)> = parsed.tensors().into_iter().map(entry).collect();
    entries.sort_by(|(a, x), (b, y)| (x.range.start, x.range.end, a).cmp(&(y.range.start, y.range.end, b)));
    let metadata = parsed.metadata().clone().unwrap_or_default();
    Ok((Payload { entries, metadata }, (parsed.data_len(), data.len())))
}
