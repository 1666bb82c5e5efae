//! Whether stored tensors are those of a config. In: tensors by name, a config. Out: every disagreement.
//!
//! Invariant: where there is none, each tensor of the config is there with its shape and a type that the
//! interpreter and the planner read, and there is no other. A kind of damage that gets past this check
//! would surface in a kernel: new laws belong here.

use std::collections::HashSet;

use qwenc_formats::DType;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::family::Family;
use crate::named_tensors::Tensors;
use crate::payload::{self, Entry};
use crate::quant::not_finite;
use crate::stored_types::{decode, entry_type, float, same_shape, scale_type, scales_name, stored_shape};
use crate::tensor_names::{EMBEDDING, LM_HEAD};
use crate::tensor_order::tensors_in_order;
use crate::tensor_spec::TensorSpec;
use crate::weights::Stored;

/// The type that a tensor must have, or none where any float type will do.
pub(crate) type Wanted<'a> = &'a dyn Fn(&str, &TensorSpec) -> Option<DType>;

/// Depth of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Headers, texts and lists of tensors, at once for a file of any size.
    Headers,
    /// Every value too.
    Values,
}

/// Every disagreement between the tensors and the config.
pub(crate) fn problems(tensors: &dyn Tensors, config: &Config, wanted: Wanted, look: Look) -> Vec<Error> {
    if let Some(other) = another_family(tensors, config) {
        return vec![other];
    }
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for (name, spec) in tensors_in_order(config) {
        let wanted = wanted(&name, &spec);
        found.extend(check_one(tensors, &name, &spec, (wanted, look)).err());
        if wanted.and_then(DType::quantised).is_some() {
            known.insert(scales_name(&name));
        }
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
    if config.tied && look == Look::Values {
        found.extend(check_tied(tensors).err());
    }
    found
}

/// Error where the names are those of another family than config.json states.
fn another_family(tensors: &dyn Tensors, config: &Config) -> Option<Error> {
    let (family, sign) = Family::shown_by(&tensors.names());
    let experts = family.is_none() && sign.contains("experts");
    let differs = family.is_some_and(|f| f != config.family);
    (differs || experts).then(|| Error::AnotherFamily {
        file: tensors.file().to_string(),
        config: config.family.architecture(),
        tensors: family.map_or(sign.clone(), |f| format!("those of {}, {sign}", f.architecture())),
    })
}

fn check_one(
    tensors: &dyn Tensors,
    name: &str,
    spec: &TensorSpec,
    (wanted, look): (Option<DType>, Look),
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
    let shape = stored_shape(wanted.unwrap_or(DType::F32), &spec.shape);
    let stored = find(name, format!("{shape:?}"))?;
    if !same_shape(&stored.entry.shape, &shape) {
        return Err(mismatch(name, format!("{shape:?}"), stored.entry));
    }
    let found = stored.entry.dtype;
    let (right, types) = match wanted {
        None => (float(found).is_some(), "f32, f16 or bf16".to_string()),
        Some(dtype) => (found == entry_type(dtype), payload::name(entry_type(dtype))),
    };
    if !right {
        return Err(mismatch(name, types, stored.entry));
    }
    let Some((group, scales)) = wanted.and_then(DType::quantised) else { return Ok(()) };
    let scales_dtype = scale_type(scales);
    let name = scales_name(name);
    let shape = [spec.shape[0], spec.shape[1].div_ceil(group)];
    let stored = find(&name, format!("{shape:?}"));
    let stored = stored?;
    match float(stored.entry.dtype) == Some(scales_dtype) && same_shape(&stored.entry.shape, &shape) {
        true if look == Look::Headers => Ok(()),
        true => check_scales(tensors.file(), &name, scales_dtype, &stored),
        false => Err(mismatch(&name, format!("{scales_dtype}{shape:?}"), stored.entry)),
    }
}

/// A scale that is not a number would spoil every token, and no one would know why.
fn check_scales(file: &str, name: &str, dtype: DType, stored: &Stored) -> Result<()> {
    let mut values = Vec::new();
    decode(dtype, &stored.bytes(), &mut values);
    match not_finite(&values) {
        None => Ok(()),
        Some((at, found)) => {
            let row = (at / stored.entry.shape[1].max(1)) as u64;
            let (file, tensor) = (file.to_string(), name.to_string());
            Err(Error::NotFinite { file, tensor, row, found })
        }
    }
}

/// An lm_head beside a tied embedding must be a copy of it.
fn check_tied(tensors: &dyn Tensors) -> Result<()> {
    let (Some(head), Some(embedding)) = (tensors.find(LM_HEAD), tensors.find(EMBEDDING)) else {
        return Ok(());
    };
    let same_kind = head.entry.dtype == embedding.entry.dtype && head.entry.shape == embedding.entry.shape;
    let (head_data, embedding_data) = (head.bytes(), embedding.bytes());
    if same_kind && head_data == embedding_data {
        return Ok(());
    }
    let at = head_data.iter().zip(embedding_data.iter()).position(|(a, b)| a != b).filter(|_| same_kind);
    let side = |t: &Stored| match (at, float(t.entry.dtype)) {
        (Some(at), Some(dtype)) => {
            let each = dtype.bytes(1) as usize;
            let element = at / each;
            let mut value = Vec::new();
            decode(dtype, &t.bytes()[element * each..(element + 1) * each], &mut value);
            format!("{}, element {element} = {}", t.entry.describe(), value[0])
        }
        _ => t.entry.describe(),
    };
    let (lm_head, embedding) = (side(&head), side(&embedding));
    Err(Error::TiedHead { file: tensors.file().to_string(), lm_head, embedding })
}
