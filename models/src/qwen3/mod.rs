//! Dense Qwen3, the one family that is compiled: `fields.rs` reads what is its own in config.json,
//! `graph.rs` has its tensors and its block. Another family is another folder like this one.

pub(crate) mod fields;
pub(crate) mod graph;
