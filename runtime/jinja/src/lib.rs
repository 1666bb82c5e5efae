//! Chat templates: Jinja2 as transformers' `apply_chat_template` sets it up, with limits.
//!
//! In: the source of a template; variables as JSON. Out: text, or a `Fault`. Invariant: the environment is that of
//! `_compile_jinja_template` (an immutable sandbox, `trim_blocks`, `lstrip_blocks`, loop controls, the generation tag,
//! `tojson`, `raise_exception`, `strftime_now`, no autoescape), and values print, compare and fail as Python's do. No
//! template overflows a stack, runs for long or takes more memory than `Limits` says: parser and interpreter run on a
//! thread of their own, whose stack is known, whatever the stack of the caller.
//!
//! The way of a template: `lexer` (text to tokens; `tags` inside of tags), `parser/` (tokens to the arena of `ast`),
//! `interpreter/` (statements and expressions), with `filters/`, `tests`, `methods/` and `globals` for what templates
//! call, `value/` for Python's types and `meter` for the limits.

mod ast;
mod error;
mod filters;
mod globals;
mod interpreter;
mod lexer;
mod meter;
mod methods;
mod own_thread;
mod parser;
mod tags;
mod template;
mod tests;
mod value;

pub use error::Fault;
pub use meter::Limits;
pub use template::Template;
