//! Tensors by name, and the check that they are those of a config.
//!
//! In: entries of one or more files. Out: bytes, and [`qwenc_ir::Tensor`]s for a graph's weights.
//! Invariant: after the check, each tensor of the config is there with its shape and a type that the
//! interpreter and the planner read, and there is no other.

use std::borrow::Cow;
use std::collections::HashSet;

use half::{bf16, f16};
use qwenc_ir::{DType, Scales, Tensor, WeightDecl, WeightError};
use safetensors::Dtype;

use crate::blocks::{EMBEDDING, LM_HEAD};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::family::TensorSpec;
use crate::image::Entry;

/// A tensor as stored.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub entry: &'a Entry,
    pub data: &'a [u8],
}

/// Tensors by name.
pub(crate) trait Tensors {
    /// The file or folder, for messages.
    fn file(&self) -> &str;
    fn find(&self, name: &str) -> Option<Stored<'_>>;
    fn names(&self) -> Vec<&str>;
}

/// The type of a checkpoint's float tensor.
pub(crate) fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        _ => None,
    }
}

/// Name of the scales of a quantised tensor.
pub(crate) fn scales_name(tensor: &str) -> String {
    format!("{tensor}.scales")
}

/// Each tensor that the config implies, with its layer's name filled in, in the order of model.bin:
/// layer by layer, then the rest.
pub(crate) fn expected(config: &Config) -> Vec<(String, TensorSpec)> {
    let table = config.family.tensors(config);
    let (block, rest): (Vec<_>, Vec<_>) = table.into_iter().partition(TensorSpec::per_layer);
    let layers =
        (0..config.dims.layers).flat_map(|i| block.iter().map(move |s| (s.tensor_name(i), s.clone())));
    layers.chain(rest.iter().map(|s| (s.name.to_string(), s.clone()))).collect()
}

fn shape_text(spec: &TensorSpec) -> String {
    format!("{:?}", spec.shape)
}

fn same_shape(found: &[usize], spec: &[u32]) -> bool {
    found.len() == spec.len() && found.iter().zip(spec).all(|(&a, &b)| a as u64 == u64::from(b))
}

/// Every disagreement between the tensors and the config; `weights` is the type of quantised
/// matrices, or none where any float type will do.
pub(crate) fn problems(tensors: &dyn Tensors, config: &Config, weights: Option<DType>) -> Vec<Error> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for (name, spec) in expected(config) {
        found
            .extend(check_one(tensors, &name, &spec, weights.filter(|_| spec.is_matrix()), &mut known).err());
        known.insert(name);
    }
    for name in tensors.names() {
        // Tables that old exporters stored; this compiler computes its own.
        let ignored = name.ends_with(".rotary_emb.inv_freq") || (config.tied && name == LM_HEAD);
        if !known.contains(name) && !ignored {
            let shape = tensors.find(name).map_or(String::new(), |t| t.entry.describe());
            found.push(Error::UnexpectedTensor {
                file: tensors.file().to_string(),
                tensor: name.to_string(),
                found: shape,
                architecture: config.family.architecture(),
            });
        }
    }
    if config.tied {
        found.extend(check_tied(tensors).err());
    }
    found
}

fn check_one(
    tensors: &dyn Tensors,
    name: &str,
    spec: &TensorSpec,
    weights: Option<DType>,
    known: &mut HashSet<String>,
) -> Result<()> {
    let find = |name: &str, expected: String| {
        tensors.find(name).ok_or_else(|| Error::MissingTensor {
            file: tensors.file().to_string(),
            tensor: name.to_string(),
            expected,
            hint: match name {
                LM_HEAD => {
                    "; if this model has no output matrix of its own, tie_word_embeddings must be true"
                }
                _ => "; do config.json and weights belong together?",
            },
        })
    };
    let mismatch = |tensor: &str, expected: String, found: &Entry| Error::TensorMismatch {
        file: tensors.file().to_string(),
        tensor: tensor.to_string(),
        expected,
        found: found.describe(),
    };
    let stored = find(name, shape_text(spec))?;
    if !same_shape(&stored.entry.shape, &spec.shape) {
        return Err(mismatch(name, shape_text(spec), stored.entry));
    }
    let Some(DType::I8 { group }) = weights else {
        let right = match weights {
            Some(dtype) => float(stored.entry.dtype) == Some(dtype),
            None => float(stored.entry.dtype).is_some(),
        };
        let types = weights.map_or("f32, f16 or bf16".to_string(), |d| d.to_string());
        return match right {
            true => Ok(()),
            false => Err(mismatch(name, types, stored.entry)),
        };
    };
    if stored.entry.dtype != Dtype::I8 {
        return Err(mismatch(name, "i8".to_string(), stored.entry));
    }
    let scales = scales_name(name);
    let (rows, cols) = (spec.shape[0], spec.shape[1].div_ceil(group));
    let stored = find(&scales, format!("[{rows}, {cols}]"));
    known.insert(scales.clone());
    let stored = stored?;
    let float = matches!(stored.entry.dtype, Dtype::F32 | Dtype::F16);
    match float && same_shape(&stored.entry.shape, &[rows, cols]) {
        true => Ok(()),
        false => Err(mismatch(&scales, format!("f32 or f16 [{rows}, {cols}]"), stored.entry)),
    }
}

/// An lm_head beside a tied embedding must be a copy of it.
fn check_tied(tensors: &dyn Tensors) -> Result<()> {
    let (Some(head), Some(embedding)) = (tensors.find(LM_HEAD), tensors.find(EMBEDDING)) else {
        return Ok(());
    };
    let same_kind = head.entry.dtype == embedding.entry.dtype && head.entry.shape == embedding.entry.shape;
    if same_kind && head.data == embedding.data {
        return Ok(());
    }
    let at = head.data.iter().zip(embedding.data).position(|(a, b)| a != b).filter(|_| same_kind);
    let side = |t: &Stored| match (at, float(t.entry.dtype)) {
        (Some(at), Some(dtype)) => {
            let each = dtype.bytes(1) as usize;
            let element = at / each;
            let mut value = Vec::new();
            decode(dtype, &t.data[element * each..(element + 1) * each], &mut value);
            format!("{}, element {element} = {}", t.entry.describe(), value[0])
        }
        _ => t.entry.describe(),
    };
    let (lm_head, embedding) = (side(&head), side(&embedding));
    Err(Error::TiedHead { file: tensors.file().to_string(), lm_head, embedding })
}

/// Little-endian floats of type `dtype` to f32, exactly; replaces `out`.
pub(crate) fn decode(dtype: DType, bytes: &[u8], out: &mut Vec<f32>) {
    out.clear();
    match dtype {
        DType::Bf16 => out.extend(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
        DType::F16 => out.extend(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())),
        DType::F32 | DType::I8 { .. } => {
            out.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        }
    }
}

/// The tensor of a graph's weight; floats of another type are widened where f32 is declared.
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
        expected: format!("{}{:?}", decl.dtype, decl.shape),
        found: stored.entry.describe(),
    };
    if !same_shape(&stored.entry.shape, &decl.shape) {
        return Err(mismatch());
    }
    let extent = match stored.entry.shape.as_slice() {
        [rows, cols] => (*rows, *cols),
        other => (1, other.iter().product()),
    };
    let data = Cow::Borrowed(stored.data);
    match (decl.dtype, stored.entry.dtype) {
        (DType::I8 { .. }, Dtype::I8) => {
            let scales = find(&scales_name(&name))?;
            let bytes = Cow::Borrowed(scales.data);
            let scales = match scales.entry.dtype {
                Dtype::F32 => Scales::F32(bytes),
                Dtype::F16 => Scales::F16(bytes),
                _ => return Err(mismatch()),
            };
            Tensor::new(&name, decl.dtype, extent, data, Some(scales))
        }
        (declared, found) => match float(found) {
            Some(found) if found == declared => Tensor::new(&name, declared, extent, data, None),
            Some(found) if declared == DType::F32 => {
                let mut values = Vec::new();
                decode(found, stored.data, &mut values);
                Tensor::from_f32(&name, extent, &values)
            }
            _ => Err(mismatch()),
        },
    }
}
