//! The threads of a program: their number and CPUs (`cores`), the workers (`pool`), and the two ways in which
//! they wait. At a `gate` many wait for one, at a `barrier` all wait for all.
//!
//! Nothing here knows what a step computes. Changes are measured as well as tested: what is slow here is
//! slow after every kernel.

pub mod barrier;
pub mod cores;
pub mod gate;
pub mod pool;
