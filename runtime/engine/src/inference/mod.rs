//! Running the model. The `engine` runs one `step` of generated code, on the threads of this process (`cpu`) or on a
//! GPU (`cuda`); a `session` holds one sequence and its KV `cache` (`layout` says where in it), a `batch` several. A
//! `batched_step` feeds chunks of any number of sequences. The `sampler` chooses a token, after the `logits_processor` where a
//! request wants logits changed, and `logprobs` says how likely it was; an `embedding` is the last hidden state of a text.
//! `generate` is the loop over all, with `prompt_lookup` for speculation; `activation_capture` copies activations within a step.
//!
//! Everything here is token ids: text is for `qwenc-text`, flags are for `qwenc-cli`.

pub mod activation_capture;
pub mod batch;
pub mod batched_step;
pub mod cache;
pub mod cpu;
pub mod cuda;
pub mod embedding;
pub mod engine;
pub mod generate;
pub mod kv;
pub mod layout;
pub mod logits_processor;
pub mod logprobs;
pub mod memory;
pub mod prompt_lookup;
pub mod sampler;
pub mod session;
pub mod step;
