//! `qwenc inspect`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{bail, Context, Result};
use qwenc_files::Scratch;
use qwenc_models::{Checkpoint, Hints, Inspection, Look};

use crate::args::{Inspect, Stated};
use crate::input;

pub fn run(args: &Inspect) -> Result<()> {
    let look = if args.values { Look::Values } else { Look::Headers };
    let inspection = looked(&args.model, &args.stated, look)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&inspection)? + "\n",
        false => inspection.to_string(),
    };
    print(text.as_bytes())?;
    match inspection.problems.len() {
        0 => Ok(()),
        n => bail!("{}: expected no problems, found {n}; they stand above", inspection.path),
    }
}

/// A model, as far as it is looked at.
pub fn looked(model: &Path, stated: &Stated, look: Look) -> Result<Inspection> {
    if model == Path::new(input::SAMPLE) {
        return of_sample(look);
    }
    input::expect_something(model)?;
    Ok(Inspection::of_with(model, stated.hints()?, look)?)
}

/// The built-in sample as a model.bin.
fn of_sample(look: Look) -> Result<Inspection> {
    let folder = Scratch::anywhere().context("creating a temporary folder")?;
    let file = folder.path().join("model.bin");
    input::write(&Checkpoint::sample(), &file, None)?;
    let inspection = Inspection::of_with(&file, Hints::default(), look)?;
    Ok(Inspection { path: input::SAMPLE.to_string(), ..inspection })
}

/// Writes to standard output; a reader that has gone away is no error.
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
