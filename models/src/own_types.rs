//! The types that a checkpoint's matrices keep when nobody asks for others.
//!
//! In: an open checkpoint. Out: a model.bin's types, and what has to be rounded for them, in words. Invariant:
//! where a model.bin can hold all matrices exactly, it does; the type is one for all linears and one for
//! embedding and LM head, so that a mixture goes to the type that holds most of it.

use std::collections::BTreeMap;

use qwenc_formats::{DType, ScaleType};

use crate::checkpoint::Checkpoint;
use crate::graph_builder::{EMBEDDING, LM_HEAD};
use crate::named_tensors::Tensors;
use crate::tensor_order::tensors_in_order;
use crate::weight_types::WeightTypes;

/// A matrix's type, and that of the file where no model.bin has it.
type Kind = (DType, Option<DType>);

/// The types, and notes for a person.
pub(crate) fn own_types(checkpoint: &Checkpoint) -> (WeightTypes, Vec<String>) {
    let matrices = tensors_in_order(checkpoint.config()).into_iter().filter(|(_, spec)| spec.is_matrix());
    let kind = |name: &str| -> Kind {
        match checkpoint.find(name).and_then(|t| t.form.packing.nearest()) {
            Some((stored, nearest)) => (nearest, Some(stored)),
            None => (checkpoint.stored_type(name), None),
        }
    };
    let (mut linears, mut embeddings) = (BTreeMap::new(), BTreeMap::new());
    for (name, _) in matrices {
        let of = if [EMBEDDING, LM_HEAD].contains(&name.as_str()) { &mut embeddings } else { &mut linears };
        *of.entry(kind(&name)).or_insert(0usize) += 1;
    }
    let again = tensors_in_order(checkpoint.config()).into_iter().filter(|(name, _)| {
        checkpoint.stored_type(name).quantised().is_some() && !checkpoint.deltas(name).is_empty()
    });
    let again = again.count();
    let types = joined(common(linears.keys()), common(embeddings.keys()));
    let note = |to: DType| {
        move |(&(from, stored), &count): (&Kind, &usize)| {
            let exact = to == DType::F32 || (stored.is_none() && to.holds(from));
            let from = stored.unwrap_or(from).words();
            (!exact).then(|| {
                format!(
                    "{count} matrices in {from} are rounded to {}, the nearest that a model.bin has",
                    to.words()
                )
            })
        }
    };
    let notes = linears.iter().filter_map(note(types.linears));
    let notes = notes.chain(embeddings.iter().filter_map(note(types.embeddings)));
    let merged =
        (again > 0).then(|| format!("{again} quantised matrices are rounded again after merging adapters"));
    let notes = notes.chain(merged).collect();
    (types, notes)
}

/// One type for matrices of these: integers as soon as some are, since rounding floats loses least.
fn common<'a>(kinds: impl Iterator<Item = &'a Kind>) -> DType {
    let mut types: Vec<DType> = kinds.map(|(dtype, _)| *dtype).collect();
    types.sort_unstable();
    types.dedup();
    match types[..] {
        [DType::Bf16] => DType::Bf16,
        [one] if one.quantised().is_some() => one,
        _ => types.iter().find_map(|t| t.quantised()).map_or(DType::F32, int8),
    }
}

fn int8((group, scales): (u32, ScaleType)) -> DType {
    DType::I8 { group, scales }
}

/// Types that a model.bin can have together.
fn joined(linears: DType, embeddings: DType) -> WeightTypes {
    let embeddings = match (linears, embeddings) {
        (DType::I4 { .. }, DType::I4 { .. } | DType::I8 { .. }) => embeddings,
        (DType::I4 { group, scales }, _) => int8((group, scales)),
        (DType::I8 { .. }, _) => linears,
        (_, e) if e.quantised().is_some() => return WeightTypes::same(DType::F32),
        (DType::Bf16, DType::Bf16) => DType::Bf16,
        _ => return WeightTypes::same(DType::F32),
    };
    WeightTypes { linears, embeddings }
}
