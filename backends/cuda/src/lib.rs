//! A plan to CUDA C++ source, and that to machine code for NVIDIA GPUs.
//!
//! In: a checked plan. Out: one translation unit that a person can read, and how its kernels are launched; from
//! that, machine code per architecture. Invariant: the same plan gives the same bytes; nothing here needs a GPU.
//!
//! The kernels' bodies are templates in `device/`, which this crate carries as text; what is generated for a model are
//! the constants of its shapes, its kernels, and their launches:
//!
//! - `source.rs` puts the unit together, `constants.rs` writes what is the model's, `linear.rs`, `shape.rs` and `row.rs` say how its matrices are counted;
//! - `target.rs` is what the compiler asks before; `schedule.rs` has the numbers of threads, tokens and positions;
//! - `arena.rs` lays out device memory, `launches.rs` says in which order and how large,
//!   `persistent.rs` makes one launch of them.

mod arena;
mod constants;
mod decoder;
mod launches;
mod linear;
mod nvrtc;
mod persistent;
mod row;
mod schedule;
mod shape;
mod source;
mod target;

pub use nvrtc::{bundle, Bundle, Compiled, Form, Nvrtc, NvrtcError, DEFAULT_SMS, OLDEST_SM};
pub use source::{emit, EmitError, Source};
pub use target::Gpu;
