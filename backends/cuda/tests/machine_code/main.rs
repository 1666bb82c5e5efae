//! From CUDA C++ to machine code, with the NVRTC and ptxas that scripts/setup-tests.sh installs; no GPU is needed.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod bundles;
mod loads;
#[path = "../../../llvm/tests/kernels/model.rs"]
#[allow(dead_code)] // Their weights are for those who run them.
mod model;
mod nvrtc;
mod ptxas;
mod sass;
mod tools;
