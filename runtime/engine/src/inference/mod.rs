//! Running the model. The `engine` runs one step of generated code, on the threads of this process (`cpu`) or on a
//! GPU (`cuda`); a `session` holds one sequence and its KV `cache` (`layout` says where in it), a `batch` several,
//! which take their steps `together`; the `sampler` chooses a token, after `adjust` where a request wants logits changed,
//! and `logprobs` says how likely it was; an `embedding` is what the
//! model made of a whole text; `generate` is the loop over all, for which `lookup` may guess ahead; what happens
//! within a step is `observed`.
//!
//! Here everything is token ids: text is for `text/`, flags are for `commands/`.

pub mod adjust;
pub mod batch;
pub mod cache;
pub mod cpu;
pub mod cuda;
pub mod embedding;
pub mod engine;
pub mod generate;
pub mod kv;
pub mod layout;
pub mod logprobs;
pub mod lookup;
pub mod memory;
pub mod observed;
pub mod sampler;
pub mod session;
pub mod together;
