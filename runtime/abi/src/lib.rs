//! Interface of compiler, generated code and runtime: C structs passed between them, the metadata of a weights image,
//! and the footer that ties the image to its code.
//!
//! In: nothing. Out: plain `repr(C)` data, and data that travels as JSON. Invariant: any change of a layout here raises
//! [`ABI_VERSION`]; code generators find the fields of [`StepArgs`] and [`ModelInfo`] by `offset_of!`, never by
//! hand-counted numbers, and no key of JSON is written anywhere else.

mod cuda;
mod footer;
pub mod metadata;
mod step;

pub use cuda::{
    Blocks, CudaArena, CudaLaunch, CudaModel, CudaModule, CudaProbes, CudaStep, CudaVariant, Of, CUDA_SLACK,
};
pub use footer::{Footer, FooterError, Section, FOOTER_BYTES};
pub use step::{Hidden, Identity, KvType, ModelInfo, ObserverFn, Row, StepArgs, StepFn};

/// Version of every layout in this crate. The runtime refuses code of another version.
pub const ABI_VERSION: u32 = 6;

/// Alignment in bytes of the weights image within its file, and of every packed tensor segment
/// boundary that must be mappable: the page size of every supported system.
pub const PAGE: u64 = 4096;

/// KV-cache capacities are a multiple of this many positions.
pub const KV_POSITIONS: u64 = 32;
