//! Shared parts of the end-to-end tests: the real `qwenc`, executables made by it, goldens, forged files.
//!
//! In: names of models, weight types and CPUs. Out: files in one folder per test process, made once.
//! Invariant: nothing here knows the inside of the compiler; programs are run as a user runs them.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

pub mod data;
pub mod forged;
pub mod golden;
pub mod host_cuda;
pub mod nvrtc;
pub mod odd;
pub mod program;
pub mod root;
pub mod tensors;
pub mod terminal;
pub mod valgrind;
pub mod variants;
