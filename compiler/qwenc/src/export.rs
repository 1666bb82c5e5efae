//! `qwenc export`.

use anyhow::Result;

use crate::args::{inputs, Export};
use crate::input;
use crate::output::Output;
use crate::say;

pub fn run(args: &Export) -> Result<()> {
    let quant = args.weights.quant()?;
    let inputs = inputs(&args.checkpoint, args.changes.adapters(), &args.stated)?;
    let output = Output::new(&args.output, &inputs)?.file()?;
    let checkpoint = input::checkpoint(&args.checkpoint, args.stated.hints()?)?;
    let checkpoint = input::changed(checkpoint, &args.changes)?;
    let report = input::write(&checkpoint, &output, quant)?;
    say(&format!(
        "{}: {} tensors as {}, {:.1} MB",
        args.output.display(),
        report.tensors,
        report.types.words(),
        report.file_bytes as f64 / 1e6
    ));
    Ok(())
}
