//! Tests of the rules themselves. In: rules and ground terms. Out: both sides, run and compared.
//!
//! A new rule has its case in `sides.rs`, each of its conditions one in `guards.rs`; `ground.rs` is the
//! machinery of both, `choice.rs` looks at what is extracted.

mod choice;
mod ground;
mod guards;
mod sides;
