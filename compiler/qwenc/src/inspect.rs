//! `qwenc inspect`.

use std::io::{self, Write};

use anyhow::Result;
use qwenc_models::Inspection;

use crate::args::Inspect;

pub fn run(args: &Inspect) -> Result<()> {
    let inspection = Inspection::of(&args.model)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&inspection)? + "\n",
        false => inspection.to_string(),
    };
    print(text.as_bytes())
}

/// Writes to standard output; a reader that has gone away is no error.
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
