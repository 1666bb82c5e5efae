//! The server, over HTTP, with a mock of the model: what it answers, refuses, shares and survives.

#![allow(clippy::unwrap_used)]

#[path = "../mock/mod.rs"]
mod mock;

mod access;
mod answers;
mod constrain;
mod crowd;
mod formats;
mod large;
mod loading;
mod refusals;
mod site;
mod words;
