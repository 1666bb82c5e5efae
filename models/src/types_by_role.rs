//! Two types for all matrices of a model: the layers', and that of embedding and LM head.
//!
//! In: a choice of `export`, or what a model.bin of version 2 states. Out: the types, and version 2's word for them.
//! Invariant: the word says all that a reader of version 2 needs (docs/model-bin.md).

use std::fmt;

use qwenc_formats::DType;

use crate::group_rule::group_rule;

/// A type for the layers' matrices, and one for embedding and LM head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypesByRole {
    /// Matrices of the layers.
    pub linears: DType,
    /// Embedding and LM head.
    pub embeddings: DType,
}

impl TypesByRole {
    /// All matrices of one type, as a header of version 2 says that has no word beside it.
    pub fn same(dtype: DType) -> TypesByRole {
        TypesByRole { linears: dtype, embeddings: dtype }
    }

    /// The types of a word of version 2, if it is one.
    pub fn parse(word: &str) -> Option<TypesByRole> {
        let (linears, embeddings) = word.split_once('+').unwrap_or((word, word));
        let types = TypesByRole { linears: linears.parse().ok()?, embeddings: embeddings.parse().ok()? };
        // An embedding of more bits is all that a second type is for.
        let int4 = matches!(types.linears, DType::I4 { .. });
        let int8 = matches!(types.embeddings, DType::I8 { .. });
        let joined = types.linears == types.embeddings || (int4 && int8);
        let in_range = |dtype: DType| group_rule(dtype).is_none();
        let right = in_range(types.linears) && in_range(types.embeddings) && joined;
        (right && types.code().is_some() && types.to_string() == word).then_some(types)
    }

    /// Number of the layers' type in a header of version 2, which has no others.
    pub fn code(self) -> Option<u32> {
        match self.linears {
            DType::F32 => Some(0),
            DType::Bf16 => Some(1),
            DType::I8 { .. } => Some(2),
            DType::I4 { .. } => Some(3),
            DType::F16 | DType::Q4_1 | DType::Q4K | DType::Q5K | DType::Q6K => None,
        }
    }

    /// Inputs of a layer's matrix that share a scale; 0 where there are no scales.
    pub fn group(self) -> u32 {
        self.linears.group().unwrap_or(0)
    }

    /// The types in a user's words: `int8 in groups of 64`.
    pub fn words(self) -> String {
        match self.linears == self.embeddings {
            true => self.linears.words(),
            false => format!("{}, embedding and LM head {}", self.linears.words(), self.embeddings.words()),
        }
    }
}

impl fmt::Display for TypesByRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.linears == self.embeddings {
            true => self.linears.fmt(f),
            false => write!(f, "{}+{}", self.linears, self.embeddings),
        }
    }
}
