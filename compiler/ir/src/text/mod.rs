//! The text form of a graph. In: a graph. Out: lines that [`parse`] turns back into the same graph.
//!
//! `print.rs` and `parse.rs` change together; the corpus in `compiler/ir/tests` holds them to each other.

mod parse;
mod print;

pub use parse::{layer_group, parse, ParseError};
