//! `qwen_request` of `include/qwen.h`: one sequence of a batched call.
//!
//! In: nothing. Out: plain `repr(C)` data. Invariant: as for `types.rs`, apart from which it stands since it names a handle.

use crate::handles::QwenCache;
use crate::types::SamplingChoice;

/// `qwen_request`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Request {
    pub cache: *mut QwenCache,
    pub tokens: *const u32,
    pub count: usize,
    pub position: usize,
    pub sampling: SamplingChoice,
}
