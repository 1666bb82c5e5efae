//! Text to token ids and back. The `tokenizer` is the checkpoint's; its chat `template` writes a conversation
//! as text; `prompt` puts both together, safely. `vocabulary` is how the
//! library sees the tables that the compiler made of the usual vocabulary, `post_processor` adds special tokens around them. A `stream`
//! makes text of ids as they come, and `stops` finds stop strings in it.
//!
//! The measure of everything here is the checkpoint's own Python: a difference of one id is an error.

mod post_processor;
pub mod prompt;
pub mod stops;
pub mod stream;
pub mod template;
pub mod tokenizer;
mod vocabulary;
