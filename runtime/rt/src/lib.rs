//! The static library inside qwenc: what every compiled executable and shared library is linked with.
//!
//! In: the model's constants and kernels, from generated code. Out: a program or a library. Invariant: nothing but the crates
//! of the runtime, in the order in which they know each other: `engine` runs the model, `text` makes tokens of text, `serve`
//! answers over HTTP, `cli` is a program's commands, `c_api` a library's functions. None of them knows a compiler crate; no
//! panic leaves the entry points below, nor any function of the `c_api`. Tests that need several of the crates are here.

pub use qwenc_c_api as c_api;
pub use qwenc_cli::{cli, commands, console, entry, interrupt, run};
pub use qwenc_engine::{cpu, error, image, inference, machine, phases, program, streams, threads};
pub use qwenc_serve as serve;
pub use qwenc_text as text;

pub use c_api::load::{qwenc_load, qwenc_load_cuda};
pub use entry::{qwenc_main, qwenc_main_cuda};
