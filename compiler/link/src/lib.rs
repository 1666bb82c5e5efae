//! Code, packed weights and runtime to one executable or shared library.
//!
//! In: object files or a bundle of CUDA kernels, a plan, tensors. Out: an executable or a library that carries its
//! weights, or has them in a file beside it. Invariant: nothing stands at the output path until it is complete.

mod blocks;
mod embedded;
mod entry;
mod error;
mod image;
mod linker;
mod product;

pub use error::LinkError;
pub use image::Content;
pub use linker::{require_cc, Form, Linker};
pub use product::{beside, header, Linked, Product, Weights};
