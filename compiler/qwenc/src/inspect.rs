//! `qwenc inspect`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use qwenc_models::{Checkpoint, Inspection};

use crate::args::Inspect;
use crate::input;

pub fn run(args: &Inspect) -> Result<()> {
    let inspection = match *args.model == *Path::new(input::SAMPLE) {
        true => of_sample()?,
        false => Inspection::of_with(&args.model, args.stated.hints()?)?,
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&inspection)? + "\n",
        false => inspection.to_string(),
    };
    print(text.as_bytes())
}

/// The built-in sample as a model.bin.
pub fn of_sample() -> Result<Inspection> {
    let folder = tempfile::tempdir().context("creating a temporary folder")?;
    let file = folder.path().join("model.bin");
    input::write(&Checkpoint::sample(), &file, None)?;
    Ok(Inspection { path: input::SAMPLE.to_string(), ..Inspection::of(&file)? })
}

/// Writes to standard output; a reader that has gone away is no error.
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
