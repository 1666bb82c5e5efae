//! Runs a compiled model on threads of a CPU or on a GPU.
//!
//! In: the model's code as `ModelInfo` or a bundle of kernels, the weights image, token ids. Out: logits, sampled tokens.
//! Invariant: this crate knows no text and no command line; whatever goes wrong is a variant of [`error::Error`].
//!
//! `program` says which model this is, `image` has its weights, `inference` runs it on `threads` or through the CUDA driver.
//! `machine` measures the limits of the machine, `cpu` tells whether the code can run on it.

pub mod cpu;
pub mod error;
pub mod image;
pub mod inference;
pub mod machine;
pub mod phases;
pub mod program;
pub mod streams;
pub mod threads;
