//! Whether stored tensors are those of a config. In: tensors by name, a config. Out: every disagreement.
//!
//! Invariant: where there is none, each tensor of the config is there with its shape and a type that the
//! interpreter and the planner read, and there is no other. A kind of damage that gets past this check
//! would surface in a kernel: new laws belong here.

use std::collections::HashSet;

use qwenc_ir::DType;
use safetensors::Dtype;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::graph_builder::{EMBEDDING, LM_HEAD};
use crate::model_graph::tensors_in_order;
use crate::named_tensors::{decode, float, same_shape, scales_name, Stored, Tensors};
use crate::payload::Entry;
use crate::tensor_spec::TensorSpec;

fn shape_text(spec: &TensorSpec) -> String {
    format!("{:?}", spec.shape)
}

/// Every disagreement between the tensors and the config; `weights` is the type of quantised
/// matrices, or none where any float type will do.
pub(crate) fn problems(tensors: &dyn Tensors, config: &Config, weights: Option<DType>) -> Vec<Error> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for (name, spec) in tensors_in_order(config) {
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
