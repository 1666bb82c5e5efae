//! Tests of the rules themselves. In: rules and ground terms. Out: both sides, run and compared.

mod choice;
#[path = "../../tests/fixture/mod.rs"]
mod fixture;
mod ground;
mod guards;
mod sides;
