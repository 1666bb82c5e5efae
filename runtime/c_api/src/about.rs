//! Facts of a model: `qwen_model_info`, and versions.
//!
//! In: the image's metadata. Out: numbers and C's texts. Invariant: texts and arrays live as long as the model.

use std::ffi::c_char;

use qwenc_abi::KvType;

use crate::border;
use crate::handles::QwenModel;
use crate::types::{Info, API_VERSION};

/// The number of the interface.
#[no_mangle]
pub extern "C" fn qwen_api_version() -> u32 {
    API_VERSION
}

/// The version of the compiler.
#[no_mangle]
pub extern "C" fn qwen_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Fills `info`.
///
/// # Safety
/// `model` must be null or a handle, and `info` null or point to what it says to be.
#[no_mangle]
pub unsafe extern "C" fn qwen_model_info(model: *const QwenModel, info: *mut Info) -> i32 {
    border::status(|| {
        // SAFETY: by the caller's promise.
        let shared = unsafe { &border::reference(model, "model")?.0.shared };
        // SAFETY: by the caller's promise.
        unsafe { border::measured(info.cast_const(), "info")? };
        let (metadata, about) = (shared.opened.metadata(), &shared.about);
        let m = &metadata.model;
        let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let found = Info {
            size: size_of::<Info>(),
            name: about.name.as_ptr(),
            architecture: about.architecture.as_ptr(),
            weight_type: about.weight_type.as_ptr(),
            parameters: m.parameters,
            layers: short(m.layers),
            hidden: short(m.hidden),
            intermediate: short(m.intermediate),
            heads: short(m.heads),
            kv_heads: short(m.kv_heads),
            head_dim: short(m.head_dim),
            context: whole(shared.limit),
            max_context: shared.sizes.max_context,
            vocab: shared.sizes.vocab_rows,
            tokens: shared.opened.tokenizer.as_ref().map_or(0, |t| whole(t.size())),
            kv_type: match shared.kv {
                KvType::F32 => 1,
                KvType::Bf16 => 2,
                KvType::I8 => 3,
            },
            stop_count: whole(metadata.stop_tokens.len()),
            rms_eps: m.rms_eps,
            rope_theta: m.rope_theta,
            stop_tokens: metadata.stop_tokens.as_ptr(),
        };
        // SAFETY: by the caller's promise; its size was checked.
        unsafe { info.write(found) };
        Ok(())
    })
}
