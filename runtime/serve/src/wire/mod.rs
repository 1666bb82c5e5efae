//! Requests and answers in OpenAI's form.
//!
//! In: JSON. Out: requests as values, whose numbers are in range; answers as JSON. Invariant: no field is ignored in
//! silence: what is not known, or has another type, is refused by name.
//!
//! `fields` reads objects, `options` what chats and completions have in common, `chat`, `messages` and `completion` the
//! rest, `format` what an answer must be; `reply` writes answers.

pub mod chat;
pub mod completion;
pub mod embedding;
pub mod fields;
pub mod format;
pub mod messages;
pub mod options;
pub mod reply;
