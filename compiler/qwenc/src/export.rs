//! `qwenc export`.

use anyhow::Result;

use crate::args::Export;
use crate::input;

pub fn run(args: &Export) -> Result<()> {
    let quant = args.weights.quant()?;
    let checkpoint = input::checkpoint(&args.checkpoint)?;
    let report = input::write(&checkpoint, &args.output, quant)?;
    eprintln!(
        "{}: {} tensors as {}, {:.1} MB",
        report.path.display(),
        report.tensors,
        report.quant,
        report.file_bytes as f64 / 1e6
    );
    Ok(())
}
