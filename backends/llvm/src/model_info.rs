//! The model's description: the constant [`ModelInfo`] that the runtime reads.
//!
//! In: a plan, a CPU, the step function. Out: a constant in the module. Invariant: every field of the struct is given,
//! stands where `offset_of!` says and is as wide as its type; what lies between fields is zeros.

use std::mem::{offset_of, size_of};

use inkwell::context::Context;
use inkwell::module::Linkage;
use inkwell::values::{BasicValueEnum, FunctionValue, PointerValue};
use qwenc_abi::{Hidden, ModelInfo, ABI_VERSION};
use qwenc_plan::Plan;

use crate::emit::{EmitError, Unit, MODEL_SYMBOL};
use crate::{linear, schedule};

/// Value of a field.
#[derive(Clone, Debug, PartialEq)]
enum FieldValue<'c> {
    U32(u32),
    U64s(Vec<u64>),
    Pointer(PointerValue<'c>),
}

/// A field of a struct: where it stands, how wide it is, and its value.
#[derive(Clone, Debug, PartialEq)]
struct Field<'c> {
    offset: usize,
    bytes: usize,
    value: FieldValue<'c>,
}

/// Next bytes of a struct: a value or padding.
#[derive(Clone, Debug, PartialEq)]
enum Piece<'c> {
    Value(FieldValue<'c>),
    /// Zeros.
    Padding(usize),
}

/// Fields of a struct by name. One that is missing does not compile.
macro_rules! fields {
    ($struct:ident { $($name:ident: $value:expr),* $(,)? }) => {{
        // A pattern without `..` names them all.
        const _: fn($struct) = |$struct { $($name: _),* }| ();
        vec![$(Field {
            offset: offset_of!($struct, $name),
            bytes: width(|whole: &$struct| &whole.$name),
            value: $value,
        }),*]
    }};
}

/// Bytes of the field that `_of` takes.
fn width<S, F>(_of: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Adds the constant to the module.
pub(crate) fn describe(unit: &Unit, step: FunctionValue) -> Result<(), EmitError> {
    let cx = unit.cx;
    let features = unit.cpu.features().join(",");
    let text = cx.const_string(features.as_bytes(), false);
    let names = unit.module.add_global(text.get_type(), None, "features");
    names.set_initializer(&text);
    names.set_constant(true);
    names.set_linkage(Linkage::Internal);
    let step = step.as_global_value().as_pointer_value();
    let fields = of_plan(unit.plan, step, (names.as_pointer_value(), features.len()));
    let pieces = laid_out(fields, size_of::<ModelInfo>())
        .map_err(|message| EmitError::Llvm { what: "describing the model", message })?;
    let values: Vec<BasicValueEnum> = pieces.iter().map(|piece| piece.constant(cx)).collect();
    // Packed: LLVM adds no padding to that of the pieces.
    let info = cx.const_struct(&values, true);
    let model = unit.module.add_global(info.get_type(), None, MODEL_SYMBOL);
    model.set_initializer(&info);
    model.set_constant(true);
    model.set_alignment(align_of::<ModelInfo>() as u32);
    Ok(())
}

fn of_plan<'c>(
    plan: &Plan,
    step: PointerValue<'c>,
    (features, features_len): (PointerValue<'c>, usize),
) -> Vec<Field<'c>> {
    use FieldValue::{Pointer, U64s, U32};
    let dims = &plan.dims;
    let u64 = |n: u64| U64s(vec![n]);
    fields!(ModelInfo {
        abi_version: U32(ABI_VERSION),
        vocab_rows: U32(dims.vocab_rows),
        logits_stride: U32(linear::logits_stride(dims.vocab_rows) as u32),
        layers: U32(dims.layers),
        max_context: U32(dims.context),
        kv_heads: U32(dims.kv_heads),
        kv_head_dim: U32(dims.head_dim),
        step: Pointer(step),
        weights_bytes: u64(plan.weights_bytes),
        kv_bytes_per_position: U64s(plan.kv_bytes_per_position().to_vec()),
        arena_counters: u64(schedule::counter_bytes(plan)),
        arena_per_row: u64(plan.row_bytes),
        arena_per_thread: u64(schedule::thread_bytes(plan)),
        features: Pointer(features),
        features_len: u64(features_len as u64),
        hidden: U64s(hidden(plan)),
    })
}

/// Words of the record [`Hidden`], in the order of their offsets.
fn hidden(plan: &Plan) -> Vec<u64> {
    let [offset, row_bytes, width, gain] = plan.hidden_record();
    let word = |offset: usize| offset / size_of::<u64>();
    let mut words = vec![0; word(size_of::<Hidden>())];
    words[word(offset_of!(Hidden, offset))] = offset;
    words[word(offset_of!(Hidden, row_bytes))] = row_bytes;
    words[word(offset_of!(Hidden, width))] = width;
    words[word(offset_of!(Hidden, gain))] = gain;
    words
}

/// The fields of a struct of `size` bytes in order, with the padding between and behind them; or what is wrong with them.
fn laid_out(mut fields: Vec<Field>, size: usize) -> Result<Vec<Piece>, String> {
    fields.sort_by_key(|field| field.offset);
    let (mut pieces, mut end) = (Vec::new(), 0);
    let padded = |pieces: &mut Vec<Piece>, from: usize, to: usize| match to.checked_sub(from) {
        Some(0) => Ok(()),
        Some(bytes) => {
            pieces.push(Piece::Padding(bytes));
            Ok(())
        }
        None => Err(format!("a field ends at byte {from}, and the next begins, or the struct ends, at {to}")),
    };
    for field in fields {
        padded(&mut pieces, end, field.offset)?;
        let bytes = field.value.bytes();
        if bytes != field.bytes {
            return Err(format!(
                "the field at byte {} has {} bytes, its value {bytes}",
                field.offset, field.bytes
            ));
        }
        end = field.offset + bytes;
        pieces.push(Piece::Value(field.value));
    }
    padded(&mut pieces, end, size)?;
    Ok(pieces)
}

impl FieldValue<'_> {
    fn bytes(&self) -> usize {
        match self {
            FieldValue::U32(_) => size_of::<u32>(),
            FieldValue::U64s(all) => size_of::<u64>() * all.len(),
            FieldValue::Pointer(_) => size_of::<*const u8>(),
        }
    }
}

impl<'c> Piece<'c> {
    fn constant(&self, cx: &'c Context) -> BasicValueEnum<'c> {
        let i64 = cx.i64_type();
        match self {
            Piece::Value(FieldValue::U32(n)) => cx.i32_type().const_int((*n).into(), false).into(),
            Piece::Value(FieldValue::U64s(all)) => match all[..] {
                [one] => i64.const_int(one, false).into(),
                _ => {
                    i64.const_array(&all.iter().map(|&n| i64.const_int(n, false)).collect::<Vec<_>>()).into()
                }
            },
            Piece::Value(FieldValue::Pointer(to)) => (*to).into(),
            Piece::Padding(bytes) => cx.i8_type().array_type(*bytes as u32).const_zero().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct whose compiler puts padding between its fields, and behind them.
    #[repr(C)]
    struct Sample {
        first: u32,
        wide: [u64; 2],
        last: u32,
    }

    fn sample() -> Vec<Field<'static>> {
        let (one, two) = (FieldValue::U32(1), FieldValue::U64s(vec![2, 3]));
        fields!(Sample { last: FieldValue::U32(4), first: one, wide: two })
    }

    #[test]
    fn every_byte_is_a_field_or_padding() {
        let pieces = laid_out(sample(), size_of::<Sample>()).unwrap();
        let value = |piece: &Piece| match piece {
            Piece::Value(value) => value.bytes(),
            Piece::Padding(bytes) => *bytes,
        };
        assert_eq!(pieces.iter().map(value).collect::<Vec<_>>(), [4, 4, 16, 4, 4]);
        assert_eq!((&pieces[1], &pieces[4]), (&Piece::Padding(4), &Piece::Padding(4)));
        assert_eq!(pieces[3], Piece::Value(FieldValue::U32(4)));
        assert_eq!(pieces.iter().map(value).sum::<usize>(), size_of::<Sample>());
    }

    #[test]
    fn values_of_another_width_are_refused() {
        let refused = |change: fn(&mut Vec<Field>)| {
            let mut fields = sample();
            change(&mut fields);
            laid_out(fields, size_of::<Sample>()).unwrap_err()
        };
        assert!(refused(|fields| fields[2].value = FieldValue::U64s(vec![2])).contains("its value 8"));
        assert!(refused(|fields| fields[1].offset = 12).contains("byte 24"));
        assert!(refused(|fields| fields[0].offset = 30).contains("byte 34"));
    }
}
