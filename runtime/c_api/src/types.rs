//! The structs and numbers of `include/qwen.h`, field by field.
//!
//! In: nothing. Out: plain `repr(C)` data. Invariant: what changes here changes in the header, and raises
//! [`API_VERSION`] where a program made for the older header would no longer work.

use std::ffi::{c_char, c_void};

/// `QWEN_API_VERSION`.
pub const API_VERSION: u32 = 1;

/// `qwen_status`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the header says it
pub enum Status {
    Ok = 0,
    BadArgument = -1,
    Failed = -2,
    ContextFull = -3,
    Internal = -4,
}

/// `QWEN_AT_END`.
pub const AT_END: usize = usize::MAX;
/// `QWEN_NO_TOKEN`.
pub const NO_TOKEN: u32 = u32::MAX;

/// A struct that begins with its size, as the caller's header has it.
///
/// # Safety
/// The first field must be a `usize`, and every pattern of bytes a value.
pub unsafe trait Measured: Copy {
    /// The header's name of its initialiser.
    const INIT: &'static str;
}

/// `qwen_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Options {
    pub size: usize,
    pub weights: *const c_char,
    pub threads: u32,
    pub device: u32,
    pub context: u32,
    pub chunk: u32,
    pub batch: u32,
    pub kv_type: i32,
}

/// `qwen_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Info {
    pub size: usize,
    pub name: *const c_char,
    pub architecture: *const c_char,
    pub weight_type: *const c_char,
    pub parameters: u64,
    pub layers: u32,
    pub hidden: u32,
    pub intermediate: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub context: u32,
    pub max_context: u32,
    pub vocab: u32,
    pub tokens: u32,
    pub kv_type: i32,
    pub stop_count: u32,
    pub rms_eps: f64,
    pub rope_theta: f64,
    pub stop_tokens: *const u32,
}

/// `qwen_message`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Message {
    pub role: *const c_char,
    pub content: *const c_char,
}

/// `qwen_chat`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Chat {
    pub size: usize,
    pub messages: *const Message,
    pub count: usize,
    pub messages_json: *const c_char,
    pub tools_json: *const c_char,
    pub thinking: i32,
}

/// `qwen_sampling`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct SamplingChoice {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub seed: u64,
    pub draw: u64,
}

/// `qwen_on_token`.
pub type OnToken =
    Option<unsafe extern "C" fn(user: *mut c_void, token: u32, text: *const c_char, bytes: usize) -> i32>;

/// `qwen_generation`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Generation {
    pub size: usize,
    pub sampling: SamplingChoice,
    pub max_tokens: u32,
    pub ignore_stop: i32,
}

/// `qwen_report`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Report {
    pub size: usize,
    pub ending: i32,
    pub generated: u32,
    pub prefill_tokens: u64,
    pub prefill_seconds: f64,
    pub decode_tokens: u64,
    pub decode_seconds: f64,
}

// SAFETY (all): the first field is the size, and the others are numbers and raw pointers.
unsafe impl Measured for Options {
    const INIT: &'static str = "QWEN_OPTIONS_INIT";
}
// SAFETY: see above.
unsafe impl Measured for Info {
    const INIT: &'static str = "QWEN_INFO_INIT";
}
// SAFETY: see above.
unsafe impl Measured for Chat {
    const INIT: &'static str = "QWEN_CHAT_INIT";
}
// SAFETY: see above.
unsafe impl Measured for Generation {
    const INIT: &'static str = "QWEN_GENERATION_INIT";
}
// SAFETY: see above.
unsafe impl Measured for Report {
    const INIT: &'static str = "QWEN_REPORT_INIT";
}
