//! One tensor for `qwenc inspect`. In: a stored tensor. Out: its place, its largest value, and what is
//! odd about its values. Invariant: every byte of it is looked at, if any is, and none is believed. Nothing here refuses
//! a model; that is for `tensor_check.rs`.

use serde::Serialize;

use qwenc_formats::DType;
use safetensors::Dtype;

use crate::group_rule::is_blocks;
use crate::payload::{name, Entry};
use crate::stored_types::{decode, float};

/// Values looked at together.
const CHUNK_BYTES: usize = 1 << 20;

/// A tensor as stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorSummary {
    /// Name in the file.
    pub name: String,
    /// `bf16`, `i8`, ...
    pub dtype: String,
    /// Axes, slowest first.
    pub shape: Vec<usize>,
    /// Offset of its first byte in its file.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
    /// Largest finite |value|, of integers without their scale; none for types that are not read, or bytes that are not there.
    pub max_abs: Option<f32>,
    /// NaNs and infinities.
    pub not_finite: usize,
}

impl TensorSummary {
    /// A tensor whose values are not looked at: shape, offset and bytes.
    pub(crate) fn unread(
        name: &str,
        dtype: String,
        (shape, offset, bytes): (Vec<usize>, usize, usize),
    ) -> Self {
        TensorSummary { name: name.to_string(), dtype, shape, offset, bytes, max_abs: None, not_finite: 0 }
    }

    /// The same of a tensor of safetensors; one of blocks is shown by its format, with values as its axes.
    pub(crate) fn of_entry(tensor: &str, entry: &Entry, blocks: Option<DType>) -> TensorSummary {
        let (start, bytes) = (entry.range.start, entry.range.len());
        match (blocks, &entry.shape[..]) {
            (Some(dtype), &[rows, row_bytes]) => {
                let (elements, each) = dtype.block();
                let cols = (row_bytes / each as usize).saturating_mul(elements as usize);
                TensorSummary::unread(tensor, dtype.to_string(), (vec![rows, cols], start, bytes))
            }
            _ => TensorSummary::unread(tensor, name(entry.dtype), (entry.shape.clone(), start, bytes)),
        }
    }
}

/// The format of a matrix whose rows are a whole number of blocks, if the stated one is such a format.
pub(crate) fn blocks_of(entry: &Entry, stated: Option<DType>) -> Option<DType> {
    let (dtype, row_bytes) = (stated.filter(|dtype| is_blocks(*dtype))?, *entry.shape.get(1)?);
    let whole = entry.shape.len() == 2 && (row_bytes as u64).is_multiple_of(dtype.block().1);
    (entry.dtype == Dtype::U8 && whole).then_some(dtype)
}

/// The tensor's summary, and what is odd about its values; `data` is absent if the file ends early.
pub(crate) fn summary(
    tensor: &str,
    entry: &Entry,
    (blocks, data): (Option<DType>, Option<&[u8]>),
) -> (TensorSummary, Option<String>) {
    let mut out = TensorSummary::of_entry(tensor, entry, blocks);
    let Some(data) = data else {
        return (out, Some(format!("tensor {tensor}: its bytes lie past the end of the file")));
    };
    let odd = match (entry.dtype, blocks.or(float(entry.dtype))) {
        (Dtype::I8, _) => integers(data, &mut out),
        (_, Some(dtype)) => floats(dtype, data, &mut out),
        (Dtype::U8, _) => halves(data, &mut out),
        _ => None,
    };
    // Biases that were never trained are zeros.
    let odd = odd.filter(|_| !tensor.ends_with(".bias") || out.not_finite > 0);
    (out, odd.map(|odd| format!("tensor {tensor}: {odd}")))
}

fn integers(data: &[u8], out: &mut TensorSummary) -> Option<String> {
    let most = data.iter().map(|&q| (q as i8).unsigned_abs()).max()?;
    out.max_abs = Some(f32::from(most));
    (most > 127).then(|| "expected integers of -127 to 127, found -128".to_string())
}

/// int4, two a byte.
fn halves(data: &[u8], out: &mut TensorSummary) -> Option<String> {
    let size = |half: u8| half.abs_diff(8);
    out.max_abs = data.iter().map(|b| size(b & 15).max(size(b >> 4))).max().map(f32::from);
    None
}

fn floats(dtype: DType, data: &[u8], out: &mut TensorSummary) -> Option<String> {
    let (mut values, mut most) = (Vec::new(), 0f32);
    let (_, each) = dtype.block();
    for chunk in data.chunks(CHUNK_BYTES / each as usize * each as usize) {
        decode(dtype, chunk, &mut values);
        for v in &values {
            match v.is_finite() {
                true => most = most.max(v.abs()),
                false => out.not_finite += 1,
            }
        }
    }
    out.max_abs = Some(most);
    if out.not_finite > 0 {
        return Some(format!("expected finite numbers, found {} NaN or infinite", out.not_finite));
    }
    (most == 0.0 && !data.is_empty()).then(|| "every value is 0".to_string())
}
