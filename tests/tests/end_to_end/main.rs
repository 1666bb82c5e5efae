//! The whole way, as a user goes it: the real `qwenc`, and the executables that it makes.
//!
//! One test executable, so that every model is compiled once. Run `cargo build --workspace` first, or
//! scripts/test.sh.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod adapted;
/// Models of other formats, and where the tests' data is.
#[path = "../../../models/tests/fixtures/mod.rs"]
mod fixtures;

mod alone;
mod beside;
mod beyond_4_gib;
mod bf12;
mod c_api;
mod chat;
mod command_lines;
mod compare;
mod cpus;
mod cuda;
mod cuda_flags;
mod cuda_runs;
mod embeddings;
mod formats;
mod goes_on;
mod inspect;
mod llama;
mod memory;
mod no_serve;
mod outputs;
mod perplexity;
mod predicted;
mod python;
mod real_shapes;
mod refused_formats;
mod refused_models;
mod refused_outputs;
mod refused_runs;
mod run_cache;
mod same_bits;
mod same_bytes;
mod sample;
mod serve;
mod serve_clients;
mod serve_cuda;
mod serve_lora;
mod served;
mod shown;
mod speculation;
mod transformers;
mod verify;
