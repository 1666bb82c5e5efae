//! Text to token ids and back. The `tokenizer` is the checkpoint's; its chat `template` writes a conversation
//! as text, with `python_json` where it asks for JSON; `prompt` puts both together, safely.
//!
//! The measure of everything here is the checkpoint's own Python: a difference of one id is an error.

pub mod prompt;
pub mod python_json;
pub mod template;
pub mod tokenizer;
