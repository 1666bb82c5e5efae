//! The 256 bytes before the payload of a model.bin. In: bytes, or a config. Out: the other.
//!
//! Invariant: every field is either checked against the payload or covered by a stored hash, so
//! no changed bit goes unnoticed. This is a file format (docs/model-bin.md): offsets stay, and a changed
//! layout is a new version.

use std::path::Path;

use qwenc_formats::{DType, ScaleType};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::group_rule::group_rule;
use crate::stranger::stranger;
use crate::types_by_role::TypesByRole;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 256;
/// First four bytes of a model.bin of any version, as a little-endian integer.
pub(crate) const MAGIC: u32 = 0x5157_454E;
/// The version that is written: the metadata states the type of each matrix.
pub(crate) const VERSION: u32 = 3;
/// The version before, still read: a type for the layers' matrices, and one for embedding and LM head.
pub(crate) const TYPES_BY_ROLE: u32 = 2;
/// The weight type of a file whose metadata states the type of each matrix.
const BY_TENSOR: u32 = 4;
const PAYLOAD_BYTES_AT: usize = 60;
const HASH_AT: usize = 68;
const ZEROS_AT: usize = 100;

/// The 32-bit fields after magic and version, in order: name and offset.
const WORDS: [(&str, usize); 13] = [
    ("vocab_size", 8),
    ("dim", 12),
    ("hidden_dim", 16),
    ("n_layers", 20),
    ("n_heads", 24),
    ("n_kv_heads", 28),
    ("seq_len", 32),
    ("rope_theta", 36),
    ("head_dim", 40),
    ("group_size", 44),
    ("shared_classifier", 48),
    ("rms_norm_eps", 52),
    ("weight_type", 56),
];
const GROUP: usize = 9;
const WEIGHT_TYPE: usize = 12;

/// A header, its fields as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub version: u32,
    /// Words in the order of [`WORDS`].
    words: [u32; 13],
    pub payload_bytes: u64,
    pub hash: [u8; 32],
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Whether field `i` holds the bits of an f32.
fn is_float(i: usize) -> bool {
    matches!(WORDS[i].0, "rope_theta" | "rms_norm_eps")
}

fn shown(i: usize, bits: u32) -> String {
    match is_float(i) {
        true => f32::from_bits(bits).to_string(),
        false => bits.to_string(),
    }
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Header {
    /// The header of a model, in the version that is written.
    pub fn new(config: &Config, payload_bytes: u64, hash: [u8; 32]) -> Header {
        let d = config.dims;
        let words = [
            d.vocab_rows,
            d.hidden,
            d.intermediate,
            d.layers,
            d.heads,
            d.kv_heads,
            d.context,
            config.rope.theta.to_bits(),
            d.head_dim,
            0,
            u32::from(config.tied),
            config.eps.get().to_bits(),
            BY_TENSOR,
        ];
        Header { version: VERSION, words, payload_bytes, hash }
    }

    /// The same header in the version that states two types.
    pub fn with_types_by_role(mut self, types: TypesByRole) -> Header {
        self.version = TYPES_BY_ROLE;
        self.words[GROUP] = types.group();
        // A type that the version does not have is that of no reader's header either.
        self.words[WEIGHT_TYPE] = types.code().unwrap_or(BY_TENSOR);
        self
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&self.version.to_le_bytes());
        for ((_, at), value) in WORDS.iter().zip(self.words) {
            out[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        out[PAYLOAD_BYTES_AT..HASH_AT].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[HASH_AT..ZEROS_AT].copy_from_slice(&self.hash);
        out
    }

    /// The header at the start of `file`, if magic, version and length are right.
    pub fn decode_leniently(path: &Path, file: &[u8]) -> Result<Header> {
        Ok(Header::fields_of(Header::bytes_of(path, file)?))
    }

    /// The header at the start of `file`; only what it says by itself is checked.
    pub fn decode(path: &Path, file: &[u8]) -> Result<Header> {
        let bytes = Header::bytes_of(path, file)?;
        let header = Header::fields_of(bytes);
        match bytes[ZEROS_AT..].iter().position(|&b| b != 0) {
            None => Ok(header),
            Some(i) => Err(Error::Header {
                path: path.to_path_buf(),
                field: "reserved",
                offset: ZEROS_AT + i,
                expected: "0".to_string(),
                found: bytes[ZEROS_AT + i].to_string(),
            }),
        }
    }

    fn bytes_of<'a>(path: &Path, file: &'a [u8]) -> Result<&'a [u8]> {
        if file.get(..4).map(|b| word(b, 0)) != Some(MAGIC) {
            return Err(stranger(path, file));
        }
        if let Some(found) =
            file.get(4..8).map(|b| word(b, 0)).filter(|&v| v != VERSION && v != TYPES_BY_ROLE)
        {
            return Err(Error::Version { path: path.to_path_buf(), found });
        }
        let (expected, found) = (HEADER_BYTES as u64, file.len() as u64);
        let cut = || Error::FileSize { path: path.to_path_buf(), expected, found };
        file.get(..HEADER_BYTES).ok_or_else(cut)
    }

    /// `bytes` is a whole header.
    fn fields_of(bytes: &[u8]) -> Header {
        let mut header = Header { version: word(bytes, 4), words: [0; 13], payload_bytes: 0, hash: [0; 32] };
        for (value, (_, at)) in header.words.iter_mut().zip(WORDS) {
            *value = word(bytes, at);
        }
        header.payload_bytes =
            u64::from(word(bytes, PAYLOAD_BYTES_AT)) | u64::from(word(bytes, PAYLOAD_BYTES_AT + 4)) << 32;
        header.hash.copy_from_slice(&bytes[HASH_AT..ZEROS_AT]);
        header
    }

    /// Name and value of each field, for people.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        (0..WORDS.len()).map(|i| (WORDS[i].0, shown(i, self.words[i]))).collect()
    }

    /// The type of the layers' matrices in a header of version 2, with the scales that `export` gave it.
    pub fn linears(&self, path: &Path) -> Result<DType> {
        let (code, group) = (self.words[WEIGHT_TYPE], self.words[GROUP]);
        let wrong = |i: usize, expected: String| Error::Header {
            path: path.to_path_buf(),
            field: WORDS[i].0,
            offset: WORDS[i].1,
            expected,
            found: self.words[i].to_string(),
        };
        let dtype = match (code, group) {
            (0, 0) => DType::F32,
            (1, 0) => DType::Bf16,
            (0 | 1, _) => return Err(wrong(GROUP, "0, since the weights are not quantised".to_string())),
            (2, _) => DType::I8 { group, scales: ScaleType::F32 },
            (3, _) => DType::I4 { group, scales: ScaleType::F16 },
            _ => return Err(wrong(WEIGHT_TYPE, "0 (f32), 1 (bf16), 2 (int8) or 3 (int4)".to_string())),
        };
        match group_rule(dtype) {
            None => Ok(dtype),
            Some(rule) => Err(wrong(GROUP, rule)),
        }
    }

    /// The fields in which this header is not `right`, as errors.
    pub fn disagreements(&self, path: &Path, right: &Header) -> Vec<Error> {
        let differs = (0..WORDS.len()).filter(|&i| self.words[i] != right.words[i]);
        let error = |i: usize| Error::Header {
            path: path.to_path_buf(),
            field: WORDS[i].0,
            offset: WORDS[i].1,
            expected: match (self.version, i) {
                (VERSION, GROUP | WEIGHT_TYPE) => {
                    format!("{}, as in every file of version 3", right.words[i])
                }
                _ => format!("{}, as the payload's metadata says", shown(i, right.words[i])),
            },
            found: shown(i, self.words[i]),
        };
        differs.map(error).collect()
    }
}
