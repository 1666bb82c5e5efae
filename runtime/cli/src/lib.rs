//! The command line of an executable.
//!
//! In: C's arguments, and the model's constants from generated code. Out: text, files, an exit code. Invariant: no panic leaves
//! the entry points; only `run` prints errors, and every stream is the caller's.
//!
//! A program goes `entry` -> `run` -> one of `commands`, whose flags are defined in `cli`.

pub mod cli;
pub mod commands;
pub mod console;
pub mod entry;
pub mod interrupt;
pub mod run;
