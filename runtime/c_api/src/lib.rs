//! The C interface of a model that was compiled to a shared library: what `include/qwen.h` declares.
//!
//! In: C's arguments, and from the generated `qwen_load` the model's constants. Out: handles, numbers, tokens, text.
//! Invariant: every function checks its pointers for null and its numbers for range, no panic crosses the border, and
//! why a call failed is kept for the thread that made it. Layouts, names and numbers here and in the header are the
//! same: tests compile the header against them.
//!
//! A `border` around every function; `load` opens a model behind one of the `handles`, `about` describes it, `text` is tokens
//! and templates, `caches`, `infer` and `generate` run it. What touches the engine is done by one `worker` thread per model, so that
//! any thread may call, threads and GPU are always used from the same one, and calls of several threads take turns.

pub mod about;
pub mod border;
pub mod caches;
mod callback;
pub mod generate;
pub mod handles;
pub mod infer;
pub mod load;
pub mod request;
pub mod text;
pub mod types;
mod worker;
