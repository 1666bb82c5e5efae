//! Tensors by name, wherever they are stored: the face that a checkpoint and a model.bin share.
//!
//! In: entries of one or more files. Out: bytes, f32 values, and [`qwenc_formats::Tensor`]s for a graph's
//! weights. Invariant: values are only ever widened, exactly; whether the tensors are those of the
//! config is for `tensor_check.rs`, which runs when a file is opened.

use qwenc_formats::{DType, Scales, Tensor, WeightError};
use qwenc_ir::WeightDecl;
use safetensors::Dtype;

use crate::stored_types::{entry_type, float, same_shape, scales_name, stored_shape};
use crate::weights::Stored;

/// Tensors by name.
pub(crate) trait Tensors {
    /// The file or folder, for messages.
    fn file(&self) -> &str;
    fn find(&self, name: &str) -> Option<Stored<'_>>;
    fn names(&self) -> Vec<&str>;
    /// Format of a tensor whose entry does not tell it: integers with scales beside them, rows of blocks.
    fn format(&self, name: &str) -> Option<DType>;
}

/// The tensor of a graph's weight; one of another type is widened where f32 is declared.
pub(crate) fn tensor<'a>(
    tensors: &'a dyn Tensors,
    decl: &WeightDecl,
    layer: u32,
) -> std::result::Result<Tensor<'a>, WeightError> {
    let name = decl.tensor_name(layer);
    let find = |name: &str| tensors.find(name).ok_or_else(|| WeightError::Missing { name: name.to_string() });
    let stored = find(&name)?;
    let mismatch = || WeightError::Mismatch {
        name: name.clone(),
        expected: format!("{:?} in {}", decl.shape, decl.dtype.words()),
        found: stored.entry.describe(),
    };
    let dtype = tensors.format(&name).or(float(stored.entry.dtype)).unwrap_or(decl.dtype);
    let in_shape = same_shape(&stored.entry.shape, &stored_shape(dtype, &decl.shape));
    if !in_shape || stored.entry.dtype != entry_type(dtype) {
        return Err(mismatch());
    }
    let extent = extent(decl);
    let scales = match dtype.quantised() {
        None => None,
        Some(_) => {
            let scales = find(&scales_name(&name))?;
            match scales.entry.dtype {
                Dtype::F32 => Some(Scales::F32(scales.bytes())),
                Dtype::F16 => Some(Scales::F16(scales.bytes())),
                _ => return Err(mismatch()),
            }
        }
    };
    declared(&name, Tensor::new(&name, dtype, extent, stored.bytes(), scales)?, decl)
}

/// The tensor in the declared type; one of another type is widened where f32 is declared.
pub(crate) fn declared<'a>(
    name: &str,
    tensor: Tensor<'a>,
    decl: &WeightDecl,
) -> std::result::Result<Tensor<'a>, WeightError> {
    match decl.dtype {
        declared if declared == tensor.dtype() => Ok(tensor),
        DType::F32 => Tensor::from_f32(name, (tensor.rows(), tensor.cols()), &tensor.to_f32()),
        _ => Err(WeightError::Mismatch {
            name: name.to_string(),
            expected: decl.dtype.words(),
            found: tensor.dtype().words(),
        }),
    }
}

/// Rows and columns of a declared weight; a vector is one row.
pub(crate) fn extent(decl: &WeightDecl) -> (usize, usize) {
    match decl.shape.as_slice() {
        [rows, cols] => (*rows as usize, *cols as usize),
        other => (1, other.iter().map(|&n| n as usize).product()),
    }
}
