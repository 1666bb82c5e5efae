//! Weight types that `export` writes, and the check for values that are not finite.
//!
//! In: a choice, rows of f32. Out: types, the first value that is no number. Invariant: nothing that is not finite is ever
//! rounded. Rounding itself is in `compiler/formats`.

use std::fmt;

use qwenc_formats::{max_abs, DType, ScaleType};

use crate::error::{Error, Result};
use crate::group_rule::group_rule;
use crate::types_by_role::TypesByRole;

/// Group size of the int8 embedding beside int4 linears.
const EMBEDDING_GROUP: u32 = 64;

/// Choice of `--quant`: formats of matrices; norms and biases are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// f32, widened exactly where the checkpoint has fewer bits.
    F32,
    /// Rounded half to even.
    Bf16,
    /// 8-bit integers with an f32 scale per `group` inputs of a row.
    I8 {
        /// Inputs that share a scale, 1 to [`MAX_GROUP`](crate::MAX_GROUP).
        group: u32,
    },
    /// 4-bit integers with an f16 scale per `group` inputs of a row.
    I4 {
        /// Inputs that share a scale, a multiple of 8 up to [`MAX_GROUP`](crate::MAX_GROUP).
        group: u32,
        /// Whether embedding and LM head too; else they are 8-bit integers with an f16 scale per 64 inputs.
        embeddings: bool,
    },
}

impl Quant {
    /// Formats of the matrices that `export --quant` writes.
    pub(crate) fn types(self) -> TypesByRole {
        match self {
            Quant::F32 => TypesByRole::same(DType::F32),
            Quant::Bf16 => TypesByRole::same(DType::Bf16),
            Quant::I8 { group } => TypesByRole::same(DType::I8 { group, scales: ScaleType::F32 }),
            Quant::I4 { group, embeddings } => {
                let int4 = DType::I4 { group, scales: ScaleType::F16 };
                let int8 = DType::I8 { group: EMBEDDING_GROUP, scales: ScaleType::F16 };
                TypesByRole { linears: int4, embeddings: if embeddings { int4 } else { int8 } }
            }
        }
    }

    /// Whether the group size can be.
    pub fn check(self) -> Result<()> {
        let types = self.types();
        match group_rule(types.linears) {
            Some(expected) => Err(Error::Group { expected, found: types.group() }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.types().fmt(f)
    }
}

/// The first value that is NaN or infinite.
pub(crate) fn not_finite(values: &[f32]) -> Option<(usize, f32)> {
    // The search runs only when there is something to find.
    match max_abs(values) < f32::INFINITY {
        true => None,
        false => values.iter().copied().enumerate().find(|(_, v)| !v.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_found() {
        assert_eq!(not_finite(&[0.0, f32::MAX, -1.0]), None);
        assert_eq!(not_finite(&[0.0, f32::NEG_INFINITY]), Some((1, f32::NEG_INFINITY)));
        assert!(not_finite(&[f32::NAN]).is_some_and(|(at, v)| at == 0 && v.is_nan()));
    }
}
