//! Code, packed weights and runtime to one executable.
//!
//! In: object files or a bundle of CUDA kernels, a plan, tensors. Out: an executable that carries its weights, or
//! has them in a file beside it. Invariant: nothing stands at the output path until it is complete.

mod bundle;
mod error;
mod executable;
mod image;

pub use error::LinkError;
pub use executable::{beside, Executable, Weights};
pub use image::{Assets, Image};
