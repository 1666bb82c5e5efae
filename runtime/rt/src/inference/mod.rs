//! Running the model. The `engine` runs one step of generated code in the program's `memory`; a `session`
//! holds one sequence and its KV cache; the `sampler` chooses a token; `generate` is the loop over all.
//!
//! Here everything is token ids: text is for `text/`, flags are for `commands/`.

pub mod engine;
pub mod generate;
pub mod memory;
pub mod sampler;
pub mod session;
