//! The text form of a graph. In: a graph. Out: lines that [`parse`] turns back into the same graph.

mod parse;
mod print;

pub use parse::{parse, ParseError};
