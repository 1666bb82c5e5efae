//! The model's description in compiled code, as the runtime reads it.

use qwenc_abi::{Hidden, ABI_VERSION};
use qwenc_formats::DType;
use qwenc_llvm::Cpu;
use qwenc_plan::Activations;

use crate::loaded::Loaded;
use crate::Case;
use qwenc_testing::shapes::{Random, ODD};

/// Each field is that of the plan.
#[test]
fn compiled_code_describes_its_plan() {
    let plan = Case::of((DType::Bf16, Activations::Default, false), 0.0).plan(ODD);
    let loaded = Loaded::of(&plan, "x86-64-v3", &Random);
    let (info, dims) = (loaded.info(), &plan.dims);
    assert_eq!((info.abi_version, info.vocab_rows), (ABI_VERSION, dims.vocab_rows));
    assert_eq!(info.logits_stride, dims.vocab_rows.next_multiple_of(32));
    assert_eq!((info.layers, info.max_context), (dims.layers, dims.context));
    assert_eq!((info.kv_heads, info.kv_head_dim), (dims.kv_heads, dims.head_dim));
    assert_eq!(info.weights_bytes, plan.weights_bytes);
    assert_eq!(info.kv_bytes_per_position, plan.kv_bytes_per_position());
    // A cache line for each kernel, in pairs.
    assert_eq!(info.arena_counters, 64 * (plan.kernels().count() as u64).next_multiple_of(2));
    assert_eq!(info.arena_per_row, plan.row_bytes);
    // Records of the queries that a thread takes at a time: a maximum, sums, and values of whole vectors.
    assert_eq!(info.arena_per_thread, 128 * (128 + 4 * u64::from(dims.head_dim.next_multiple_of(16))));
    let [offset, row_bytes, width, gain] = plan.hidden_record();
    assert_eq!(info.hidden, Hidden { offset, row_bytes, width, gain });
    // SAFETY: features points to this many constant bytes of the library.
    let features = unsafe { std::slice::from_raw_parts(info.features, info.features_len as usize) };
    let expected = Cpu::named("x86-64-v3").unwrap().features().join(",");
    assert_eq!(std::str::from_utf8(features).unwrap(), expected);
    assert!(std::ptr::from_ref(info).is_aligned());
}
