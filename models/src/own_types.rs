//! The types that a checkpoint's matrices have in a model.bin where no others are asked for.
//!
//! In: an open checkpoint. Out: the type of each matrix, and what has to be rounded for it, in words. Invariant: a matrix
//! keeps its type where kernels read it; else it gets f32, which holds every float exactly, or int8, with a note.

use std::collections::BTreeMap;

use qwenc_formats::{DType, ScaleType};

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::packing::SMALL_BLOCK;
use crate::quant::Quant;
use crate::weight_types::WeightTypes;

/// Why a matrix does not keep its values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// Kernels do not read its type.
    Unread,
    /// Adapters change its values, and none can be rounded to its type.
    Merged,
}

/// The types for a choice of `--quant`, or the checkpoint's own, and notes for a person.
pub(crate) fn chosen_types(
    checkpoint: &Checkpoint,
    quant: Option<Quant>,
) -> Result<(WeightTypes, Vec<String>)> {
    match quant {
        Some(quant) => {
            quant.check()?;
            Ok((WeightTypes::by_role(checkpoint.config(), quant.types()), Vec::new()))
        }
        None => Ok(own_types(checkpoint)),
    }
}

/// The types, and notes for a person.
pub(crate) fn own_types(checkpoint: &Checkpoint) -> (WeightTypes, Vec<String>) {
    let types = WeightTypes::new(checkpoint.config(), |name, _| {
        let stored = checkpoint.stored_type(name);
        reason(checkpoint, name).map_or(stored, |_| instead(stored))
    });
    let (mut rounded, mut again) = (BTreeMap::new(), 0);
    for name in types.names() {
        let stored = checkpoint.stored_type(name);
        match reason(checkpoint, name) {
            Some(reason) if !instead(stored).holds(stored) => {
                *rounded.entry((reason, stored)).or_insert(0) += 1;
            }
            Some(_) => {}
            None => {
                again += u32::from(stored.quantised().is_some() && !checkpoint.deltas(name).is_empty());
            }
        }
    }
    let note = |((reason, stored), count): ((Reason, DType), u32)| {
        let (from, to) = (stored.words(), instead(stored).words());
        match reason {
            Reason::Unread => {
                format!("{count} matrices in {from} are rounded to {to}, the nearest type that kernels read")
            }
            Reason::Merged => {
                format!("{count} matrices in {from} are rounded to {to} after merging adapters")
            }
        }
    };
    let merged =
        (again > 0).then(|| format!("{again} quantised matrices are rounded again after merging adapters"));
    let notes = rounded.into_iter().map(note).chain(merged).collect();
    (types, notes)
}

/// Why a matrix does not keep its type.
fn reason(checkpoint: &Checkpoint, name: &str) -> Option<Reason> {
    let stored = checkpoint.stored_type(name);
    match stored.operand() {
        None => Some(Reason::Unread),
        Some(_) if !stored.can_round() && !checkpoint.deltas(name).is_empty() => Some(Reason::Merged),
        Some(_) => None,
    }
}

/// The nearest type that kernels read for a matrix that cannot keep its own.
fn instead(stored: DType) -> DType {
    match stored {
        DType::F32 | DType::F16 | DType::Bf16 => DType::F32,
        DType::I8 { .. } | DType::I4 { .. } | DType::Q4_1 | DType::Q4K | DType::Q5K | DType::Q6K => {
            DType::I8 { group: SMALL_BLOCK as u32, scales: ScaleType::F16 }
        }
    }
}
