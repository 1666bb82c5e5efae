//! From CUDA C++ to machine code, with the NVRTC and ptxas that scripts/setup-tests.sh installs; no GPU is needed.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod bundles;
mod loads;
mod nvrtc;
mod ptxas;
mod sass;
mod tools;
