//! Types, shapes and names that files have for a tensor of a storage format.
//!
//! In: a storage format, or a type of safetensors. Out: the other; values as f32. Invariant: readers and writers of all files ask
//! here.

use qwenc_formats::{DType, ScaleType};
use safetensors::Dtype;

/// The type of a checkpoint's float tensor.
pub(crate) fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        _ => None,
    }
}

/// The element type that safetensors have for a tensor of this format.
pub(crate) fn entry_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::I8 { .. } => Dtype::I8,
        DType::I4 { .. } | DType::Q4_1 | DType::Q4K | DType::Q5K | DType::Q6K => Dtype::U8,
    }
}

/// The format of scales that stand beside integers.
pub(crate) fn scale_type(scales: ScaleType) -> DType {
    match scales {
        ScaleType::F16 => DType::F16,
        ScaleType::F32 => DType::F32,
    }
}

/// Whether a stored shape is the one of a table or a declaration.
pub(crate) fn same_shape(found: &[usize], spec: &[u32]) -> bool {
    found.len() == spec.len() && found.iter().zip(spec).all(|(&a, &b)| a as u64 == u64::from(b))
}

/// The shape in a file of a tensor of this type: a row of blocks is bytes.
pub(crate) fn stored_shape(dtype: DType, shape: &[u32]) -> Vec<u32> {
    let (elements, _) = dtype.block();
    match shape {
        [rows, cols] if elements > 1 => vec![*rows, dtype.bytes(u64::from(*cols)) as u32],
        _ => shape.to_vec(),
    }
}

/// Name of the scales of a quantised tensor.
pub(crate) fn scales_name(tensor: &str) -> String {
    format!("{tensor}.scales")
}

/// Elements of type `dtype`, which has no scales beside them, to f32, exactly; replaces `out`.
pub(crate) fn decode(dtype: DType, bytes: &[u8], out: &mut Vec<f32>) {
    let (elements, each) = dtype.block();
    out.clear();
    dtype.read(bytes, bytes.len() / each as usize * elements as usize, out);
}
