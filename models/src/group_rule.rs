//! Group sizes that a model.bin allows, and formats whose rows are blocks.
//!
//! In: a format. Out: a rule in words where the format breaks it. Invariant: reader and writer of model.bin ask here.

use qwenc_formats::DType;

/// Largest group of quantised weights.
pub const MAX_GROUP: u32 = 1 << 16;

/// Whether rows are blocks that hold their scales, and must be a whole number of them.
pub(crate) fn is_blocks(dtype: DType) -> bool {
    dtype.quantised().is_none() && dtype.block().0 > 1
}

/// The group sizes that a model.bin allows, where this one is not among them.
pub(crate) fn group_rule(dtype: DType) -> Option<String> {
    let group = dtype.group()?;
    let in_range = (1..=MAX_GROUP).contains(&group);
    match dtype {
        DType::I4 { .. } if !in_range || group % 8 != 0 => Some(format!("a multiple of 8 up to {MAX_GROUP}")),
        _ if !in_range => Some(format!("1 to {MAX_GROUP}")),
        _ => None,
    }
}
