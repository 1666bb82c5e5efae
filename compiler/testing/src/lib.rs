//! Fixtures and harnesses that tests of several compiler crates share.
//!
//! In: names of families, shapes, weight types; folders of text files. Out: graphs, plans, random weights; verdicts. Invariant: only
//! tests and benches depend on this crate; weights are never zero, since zeros hide everything.
//!
//! `families` are models as they are written down, for the optimiser; `qwen3` is an optimised one as text, for plans; `shapes` are
//! optimised ones of any shape, for kernels. `corpus` runs folders in which a file is a test.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

pub mod corpus;
pub mod families;
pub mod qwen3;
pub mod shapes;
