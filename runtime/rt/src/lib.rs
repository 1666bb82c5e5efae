//! The half inside every compiled executable and library.
//!
//! In: the command line, the model's code as `ModelInfo` or a bundle of kernels, the weights image. Out: text, files, an
//! exit code. Invariant: this crate knows no compiler crate; no panic leaves `qwenc_main` or `qwenc_main_cuda`, nor any
//! function of the `c_api`, which is what a shared library has instead of a command line.
//!
//! A program goes `entry` -> `run` -> one of `commands`; commands open an `image`, turn `text` into ids, and
//! let `inference` run the compiled model on its `threads`; `serve` does so for many at a time, over HTTP. What the `machine` itself can do is measured beside.

// From the command line to an exit code.
pub mod cli;
pub mod commands;
pub mod console;
pub mod entry;
pub mod interrupt;
pub mod phases;
pub mod program;
pub mod run;

// The other way in: a shared library.
pub mod c_api;

// What commands use.
pub mod cpu;
pub mod image;
pub mod inference;
pub mod machine;
pub mod serve;
pub mod text;
pub mod threads;

pub mod error;

pub use c_api::load::{qwenc_load, qwenc_load_cuda};
pub use entry::{qwenc_main, qwenc_main_cuda};
