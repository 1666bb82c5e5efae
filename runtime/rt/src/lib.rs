//! The half inside every compiled executable.
//!
//! In: the command line, the model's code as `ModelInfo`, the weights image. Out: text, files, an
//! exit code. Invariant: this crate knows no compiler crate; no panic leaves `qwenc_main`.

pub mod barrier;
pub mod cli;
pub mod commands;
pub mod cores;
pub mod cpu;
pub mod engine;
pub mod entry;
pub mod error;
pub mod gate;
pub mod generate;
pub mod image;
pub mod interrupt;
pub mod memory;
pub mod metadata;
pub mod pool;
pub mod prompt;
pub mod python;
pub mod run;
pub mod sampler;
pub mod session;
pub mod template;
pub mod tokenizer;

pub use entry::qwenc_main;
