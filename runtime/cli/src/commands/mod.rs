//! One file per command: `run` takes the program, the parsed arguments and the console. `opened.rs` has what
//! they open in common. A new command is a file here, a variant in `cli.rs` and an arm in `run.rs`.

pub mod bench;
pub mod chat;
pub mod embed;
pub mod generate;
pub mod info;
pub mod logits;
pub mod opened;
pub mod perplexity;
pub mod sampling;
pub mod serve;
pub mod verify;
