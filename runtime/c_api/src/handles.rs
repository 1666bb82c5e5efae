//! Handles of models and caches.
//!
//! In: an opened model and the thread that works for it. Out: the structs that C holds pointers to. Invariant: a model lives as
//! long as its handle or one of its caches does; every thread may read what is shared.

use std::ffi::CString;
use std::sync::Arc;

use qwenc_abi::metadata::Metadata;
use qwenc_abi::KvType;
use qwenc_cli::commands::opened::Opened;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::program::Sizes;

use crate::worker::Worker;

/// A model's handle.
pub struct QwenModel(pub(super) Arc<Model>);

/// A loaded model, shared by its handle and those of its caches.
pub(super) struct Model {
    pub(super) worker: Worker,
    pub(super) shared: Arc<Shared>,
}

/// Facts of a model that every thread may read.
pub(super) struct Shared {
    pub(super) opened: Opened,
    pub(super) sizes: Sizes,
    pub(super) allowed: Vec<bool>,
    pub(super) kv: KvType,
    /// Longest context, as `--context` sets it for an executable.
    pub(super) context: Option<usize>,
    /// Tokens that a cache holds.
    pub(super) limit: usize,
    pub(super) about: About,
}

/// A cache's handle.
pub struct QwenCache {
    pub(super) model: Arc<Model>,
    pub(super) number: u64,
}

/// Texts of `qwen_info`, ended by NUL as C has them.
pub(super) struct About {
    pub(super) name: CString,
    pub(super) architecture: CString,
    pub(super) weight_type: CString,
}

impl About {
    pub(super) fn new(metadata: &Metadata) -> Result<About> {
        let text = |text: &str| {
            let failed =
                |e: std::ffi::NulError| Error::Encode { what: "the model's name", reason: e.to_string() };
            CString::new(text).map_err(failed)
        };
        let m = &metadata.model;
        Ok(About {
            name: text(&m.name)?,
            architecture: text(&m.architecture)?,
            weight_type: text(&m.weight_type)?,
        })
    }
}
