//! Text to token ids and back. The `tokenizer` is the checkpoint's; its chat `template` writes a conversation
//! as text, with `python_json` where it asks for JSON; `prompt` puts both together, safely. `bpe` is the usual
//! vocabulary, read by `bpe_json` in a small part of the time that the library needs, `vocabulary` how the library sees it.
//! A `stream` makes text of ids as they come.
//!
//! The measure of everything here is the checkpoint's own Python: a difference of one id is an error.

mod bpe;
mod bpe_json;
pub mod prompt;
pub mod python_json;
pub mod stream;
pub mod template;
pub mod tokenizer;
mod vocabulary;
