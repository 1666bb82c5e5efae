//! One tensor of a checkpoint to the bytes of its type in a model.bin.
//!
//! In: an [`Item`]. Out: chunks of whole rows, then the scales. Invariant: what the file has in the wanted type is
//! copied; integers that a wider type holds move into it with their scales as they are; all else goes through
//! f32 and is rounded once. Nothing that is not finite is written, and no integer of -128.

use std::borrow::Cow;

use qwenc_formats::{max_abs, DType, ScaleType, Scales, Tensor, WeightError};

use crate::adapter::Delta;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::named_tensors::Tensors;
use crate::payload_layout::Item;
use crate::quant;
use crate::stored_types::{decode, scales_name};
use crate::weights::Stored;

/// Values converted at a time.
pub(crate) const CHUNK_VALUES: usize = 1 << 20;

/// Takes a chunk; false once the receiver is gone.
type Emit<'a> = &'a mut dyn FnMut(Vec<u8>) -> bool;

/// A tensor of this format, rows and columns; where nothing changes it, bytes of the mapped file.
pub(crate) fn tensor<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
    (to, (rows, cols)): (DType, (usize, usize)),
) -> Result<Tensor<'a>> {
    let find = |name: &str| {
        checkpoint.find(name).ok_or_else(|| Error::from(WeightError::Missing { name: name.to_string() }))
    };
    let item = Item { name: name.to_string(), cols, from: checkpoint.stored_type(name), to };
    let scales = |bytes| to.quantised().map(|(_, kind)| typed_scales(kind, bytes));
    if item.from == to && checkpoint.deltas(name).is_empty() {
        let stored = find(name)?;
        let data = match to.quantised() {
            Some(_) => stored_integers(&item, &stored, (0, rows))?,
            None => unchanged(checkpoint.file(), &item, &stored, (0, rows))?,
        };
        let scales = match to.quantised() {
            Some(_) => scales(find(&scales_name(name))?.bytes()),
            None => None,
        };
        return Ok(Tensor::new(name, to, (rows, cols), data, scales)?);
    }
    let (of_data, of_scales) = (to.bytes(cols as u64) as usize, to.scale_bytes(cols as u64) as usize);
    let mut data = Vec::with_capacity(rows * (of_data + of_scales));
    let mut emit = |chunk: Vec<u8>| {
        data.extend_from_slice(&chunk);
        true
    };
    convert(checkpoint, &item, (&mut emit, CHUNK_VALUES))?;
    let scales_bytes = data.split_off(data.len().min(rows * of_data));
    Ok(Tensor::new(name, to, (rows, cols), Cow::Owned(data), scales(Cow::Owned(scales_bytes)))?)
}

/// One tensor in chunks of about `chunk_values`, in whole rows; false once the receiver is gone.
pub(crate) fn convert(
    checkpoint: &Checkpoint,
    item: &Item,
    (emit, chunk_values): (Emit, usize),
) -> Result<bool> {
    // `Checkpoint::open` found the tensor; an absent one would write nothing and fail the reader.
    let Some(stored) = checkpoint.find(&item.name) else { return Ok(true) };
    let scales = checkpoint.find(&scales_name(&item.name)).filter(|_| item.from.quantised().is_some());
    let rows_per_chunk = (chunk_values / item.cols).max(1);
    let deltas = checkpoint.deltas(&item.name);
    let keeps_integers = keeps_integers(item) && deltas.is_empty();
    let mut new_scales = Vec::new();
    for from in (0..stored.row_count()).step_by(rows_per_chunk) {
        let rows = (from, from + rows_per_chunk);
        let chunk = match keeps_integers {
            true => integers(item, &stored, rows)?,
            false if item.from == item.to && deltas.is_empty() => {
                unchanged(checkpoint.file(), item, &stored, rows)?.into_owned()
            }
            false => {
                let values = values((checkpoint.file(), item), (&stored, scales.as_ref()), (rows, &deltas))?;
                rounded(item, &values, &mut new_scales)?
            }
        };
        if !emit(chunk) {
            return Ok(false);
        }
    }
    match scales.filter(|_| keeps_integers) {
        Some(scales) => Ok(emit(scales.bytes().into_owned())),
        None => Ok(new_scales.is_empty() || emit(new_scales)),
    }
}

/// Whether integers and scales are copied, at most into wider bytes.
fn keeps_integers(item: &Item) -> bool {
    let integers = |dtype: DType| dtype.quantised().is_some();
    integers(item.from) && integers(item.to) && item.to.holds(item.from)
}

fn integers(item: &Item, stored: &Stored, rows: (usize, usize)) -> Result<Vec<u8>> {
    let bytes = stored_integers(item, stored, rows)?;
    match (item.from, item.to) {
        (DType::I4 { .. }, DType::I8 { .. }) => {
            let row = |row: &[u8]| -> Vec<u8> {
                let halves = row.iter().flat_map(|b| [b & 15, b >> 4]);
                halves.take(item.cols).map(|n| n.wrapping_sub(8)).collect()
            };
            Ok(bytes.chunks(item.cols.div_ceil(2)).flat_map(row).collect())
        }
        _ => Ok(bytes.into_owned()),
    }
}

/// Integers of the rows as stored; int8 ones are -127 to 127.
fn stored_integers<'a>(
    item: &Item,
    stored: &Stored<'a>,
    (from, to): (usize, usize),
) -> Result<Cow<'a, [u8]>> {
    let bytes = stored.rows(from, to);
    match item.from {
        DType::I8 { .. } => match bytes.iter().position(|&q| q == 128) {
            None => Ok(bytes),
            Some(at) => {
                let row = (from + at / item.cols) as u64;
                Err(Error::Integer { tensor: item.name.clone(), row })
            }
        },
        _ => Ok(bytes),
    }
}

/// The stored bytes of the rows, whose format is the wanted one, with finite values.
fn unchanged<'a>(
    file: &str,
    item: &Item,
    stored: &Stored<'a>,
    rows: (usize, usize),
) -> Result<Cow<'a, [u8]>> {
    let bytes = stored.rows(rows.0, rows.1);
    if !item.from.is_finite(&bytes) {
        // Finds the value, for the message.
        values((file, item), (stored, None), (rows, &[]))?;
    }
    Ok(bytes)
}

fn typed_scales(kind: ScaleType, bytes: Cow<[u8]>) -> Scales {
    match kind {
        ScaleType::F32 => Scales::F32(bytes),
        ScaleType::F16 => Scales::F16(bytes),
    }
}

/// Values of the rows with what adapters add, all finite.
fn values(
    (file, item): (&str, &Item),
    (stored, scales): (&Stored, Option<&Stored>),
    ((from, to), deltas): ((usize, usize), &[&Delta]),
) -> Result<Vec<f32>> {
    let bytes = stored.rows(from, to);
    let mut values = Vec::new();
    match (item.from.quantised(), scales) {
        (Some((_, kind)), Some(scales)) => {
            let scales = typed_scales(kind, scales.rows(from, to));
            let rows = to.min(stored.row_count()) - from;
            values = Tensor::new(&item.name, item.from, (rows, item.cols), bytes, Some(scales))?.to_f32();
        }
        (Some(_), None) => return Err(WeightError::Missing { name: scales_name(&item.name) }.into()),
        (None, _) => decode(item.from, &bytes, &mut values),
    }
    deltas.iter().for_each(|delta| delta.add(from, item.cols, &mut values));
    match quant::not_finite(&values) {
        None => Ok(values),
        Some((at, found)) => {
            let row = (from + at / item.cols) as u64;
            let (file, tensor) = (file.to_string(), item.name.clone());
            Err(Error::NotFinite { file, tensor, row, found })
        }
    }
}

/// Values of whole rows to the bytes of the item's type; scales are appended to `scales`.
fn rounded(item: &Item, values: &[f32], scales: &mut Vec<u8>) -> Result<Vec<u8>> {
    check_scales(item, values)?;
    let mut out = Vec::with_capacity(item.to.bytes(values.len() as u64) as usize);
    if !item.to.can_round() {
        let (expected, found) = ("a type that values can be rounded to".to_string(), item.to.words());
        return Err(WeightError::Mismatch { name: item.name.clone(), expected, found }.into());
    }
    item.to.round(values, item.cols, &mut out, scales);
    Ok(out)
}

/// Whether the type can represent the largest value.
fn check_scales(item: &Item, values: &[f32]) -> Result<()> {
    let Some(limit) = item.to.largest() else { return Ok(()) };
    let found = max_abs(values);
    match found <= limit {
        true => Ok(()),
        false => Err(Error::BeyondScale { tensor: item.name.clone(), dtype: item.to, limit, found }),
    }
}
