//! `qwenc migrate`: old formats to model.bin and back.
//!
//! In: a file of another program, or a model.bin. Out: a model.bin, or an ajc1 and the files beside it. Invariant:
//! nothing is rounded.

use anyhow::Result;
use qwenc_models::to_ajc1;

use crate::args::{inputs, Format, Migrate};
use crate::output::Output;
use crate::{input, say, Misuse};

pub fn run(args: &Migrate) -> Result<()> {
    let hints = args.stated.hints()?;
    let output = match (&args.output, args.to) {
        (Some(path), _) => path.clone(),
        (None, Format::ModelBin) => "model.bin".into(),
        (None, Format::Ajc1) => return Err(Misuse("--to ajc1 needs -o".to_string()).into()),
    };
    let output = Output::new(&output, &inputs(&args.model, [], &args.stated)?)?.file()?;
    match args.to {
        Format::ModelBin => {
            let checkpoint = input::checkpoint(&args.model, hints)?;
            let report = input::migrate(&checkpoint, &output)?;
            let (tensors, types) = (report.tensors, report.types.words());
            let megabytes = report.file_bytes as f64 / 1e6;
            say(&format!("{}: {tensors} tensors as {types}, {megabytes:.1} MB", output.display()));
        }
        Format::Ajc1 => {
            let report = to_ajc1(&input::opened(&args.model, hints)?, &output)?;
            input::warn(&report.warnings);
            say(&format!("{}: {:.1} MB", output.display(), report.file_bytes as f64 / 1e6));
            for path in &report.beside {
                say(&format!("{}: beside it", path.display()));
            }
        }
    }
    Ok(())
}
