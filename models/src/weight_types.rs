//! The types of a model.bin's matrices. In: a choice of `export`, or the metadata's word. Out: the type of each
//! tensor, and the word. Invariant: norms and biases are f32 always; linears share one type, and so do
//! embedding and LM head; the word says all that a reader needs (docs/model-bin.md).

use std::fmt;

use qwenc_formats::{DType, ScaleType};

use crate::graph_builder::{EMBEDDING, LM_HEAD};
use crate::quant::{Quant, EMBEDDING_GROUP, MAX_GROUP};
use crate::tensor_spec::TensorSpec;

/// The type of every tensor of a model.bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightTypes {
    /// Matrices of the layers.
    pub linears: DType,
    /// Embedding and LM head.
    pub embeddings: DType,
}

impl WeightTypes {
    /// What `export` writes.
    pub(crate) fn of(quant: Quant) -> WeightTypes {
        match quant {
            Quant::F32 => WeightTypes::same(DType::F32),
            Quant::Bf16 => WeightTypes::same(DType::Bf16),
            Quant::I8 { group } => WeightTypes::same(DType::I8 { group, scales: ScaleType::F32 }),
            Quant::I4 { group, embeddings } => {
                let int4 = DType::I4 { group, scales: ScaleType::F16 };
                let int8 = DType::I8 { group: EMBEDDING_GROUP, scales: ScaleType::F16 };
                WeightTypes { linears: int4, embeddings: if embeddings { int4 } else { int8 } }
            }
        }
    }

    /// All matrices of one type, as a header says that has no word beside it.
    pub(crate) fn same(dtype: DType) -> WeightTypes {
        WeightTypes { linears: dtype, embeddings: dtype }
    }

    /// What the word says, if it is one.
    pub(crate) fn parse(word: &str) -> Option<WeightTypes> {
        let (linears, embeddings) = word.split_once('+').unwrap_or((word, word));
        let types = WeightTypes { linears: linears.parse().ok()?, embeddings: embeddings.parse().ok()? };
        let readable = |dtype: DType| dtype.operand().is_some() && group_rule(dtype).is_none();
        // An embedding of more bits is all that a second type is for.
        let int8 = matches!(types.embeddings, DType::I8 { .. });
        let joined = types.linears == types.embeddings || (types.code() == 3 && int8);
        let right = readable(types.linears) && readable(types.embeddings) && joined;
        (right && types.to_string() == word).then_some(types)
    }

    /// The type of a tensor.
    pub(crate) fn of_tensor(&self, spec: &TensorSpec) -> DType {
        match spec.name {
            _ if !spec.is_matrix() => DType::F32,
            EMBEDDING | LM_HEAD => self.embeddings,
            _ => self.linears,
        }
    }

    /// The same for matrices, and any float type for norms and biases.
    pub(crate) fn wanted(self) -> impl Fn(&str, &TensorSpec) -> Option<DType> {
        move |_, spec| spec.is_matrix().then(|| self.of_tensor(spec))
    }

    /// The weight type's number in the header: that of the linears.
    pub(crate) fn code(&self) -> u32 {
        match self.linears {
            // The others are in no model.bin.
            DType::F32 | DType::F16 | DType::Q4_1 | DType::Q4K | DType::Q5K | DType::Q6K => 0,
            DType::Bf16 => 1,
            DType::I8 { .. } => 2,
            DType::I4 { .. } => 3,
        }
    }

    /// The linears' type in words: `f32`, `bf16`, `int8` or `int4`.
    pub fn name(&self) -> &'static str {
        ["f32", "bf16", "int8", "int4"][self.code() as usize]
    }

    /// The types in a user's words: `int8 in groups of 64`.
    pub fn words(&self) -> String {
        match self.linears == self.embeddings {
            true => self.linears.words(),
            false => format!("{}, embedding and LM head {}", self.linears.words(), self.embeddings.words()),
        }
    }

    /// Inputs of a linear that share a scale; 0 where there are no scales.
    pub fn group(&self) -> u32 {
        self.linears.group().unwrap_or(0)
    }
}

impl fmt::Display for WeightTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.linears == self.embeddings {
            true => self.linears.fmt(f),
            false => write!(f, "{}+{}", self.linears, self.embeddings),
        }
    }
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
