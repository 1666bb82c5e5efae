//! `qwenc verify`: what a model holds, check by check, and one verdict.
//!
//! In: a model.bin, a checkpoint folder or a file of another program; maybe the checkpoint that it was made of. Out: a
//! table, and exit code 1 where a check fails. Invariant: every check is made as far as the file can be read; nothing is
//! believed because an earlier check passed.

mod against;

use std::fmt::Write;

use anyhow::{bail, Result};
use qwenc_models::{Check, Inspection, Look, Problem};

use crate::args::Verify;
use crate::inspect::{looked, print};
use crate::say;

/// Most problems of one check that are told one by one.
const TOLD: usize = 20;

pub fn run(args: &Verify) -> Result<()> {
    let inspection = looked(&args.model, &args.stated, Look::Values)?;
    let mut table = table(&inspection);
    let mut failed = inspection.problems.len();
    if let Some(checkpoint) = &args.against {
        match against::compare(args, checkpoint) {
            Ok(compared) => {
                table.push_str(&compared.text);
                if compared.failed > 0 && inspection.metadata.iter().any(|entry| entry.key == "adapters") {
                    table +=
                        "  adapters were merged into this model: what they change is not the checkpoint's\n";
                }
                failed += compared.failed;
            }
            Err(e) => {
                // What cannot be opened is said to be wrong above, or here.
                let _ = writeln!(table, "not compared with {}: {}", checkpoint.display(), crate::message(&e));
                failed += 1;
            }
        }
    }
    let shown = inspection.path.as_str();
    let verdict = match failed {
        0 => format!("{shown}: everything checked is right\n"),
        n => format!("{shown}: {n} problem(s)\n"),
    };
    print((table + &verdict).as_bytes())?;
    for warning in &inspection.warnings {
        say(&format!("warning: {warning}"));
    }
    match failed {
        0 => Ok(()),
        n => bail!("{shown}: expected no problems, found {n}; they stand in the table"),
    }
}

/// A line for each check, and its problems below.
fn table(inspection: &Inspection) -> String {
    let mut text = format!("{}: {}\n", inspection.path, inspection.kind);
    for check in Check::ALL {
        let problems: Vec<&Problem> = inspection.problems.iter().filter(|p| p.check == check).collect();
        let word = match (problems.is_empty(), seen(inspection, check)) {
            (false, _) => "WRONG".to_string(),
            (true, Some(seen)) => format!("right  {seen}"),
            (true, None) => "-".to_string(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<10} {word}", check.name());
        for problem in problems.iter().take(TOLD) {
            let _ = writeln!(text, "    {problem}");
        }
        if problems.len() > TOLD {
            let _ = writeln!(text, "    and {} more", problems.len() - TOLD);
        }
    }
    text
}

/// Subject of a check that found nothing wrong; `None` if there was nothing to look at.
fn seen(inspection: &Inspection, check: Check) -> Option<String> {
    let tensors = &inspection.tensors;
    let config = inspection.config.as_ref();
    let read = |text: String| config.map(|_| text);
    match check {
        Check::File => Some(match inspection.stated_hash.is_some() {
            true => format!("{} bytes, the payload's SHA-256 is the stated one", inspection.file_bytes),
            false => format!("{} bytes of weights", inspection.file_bytes),
        }),
        Check::Config => config.map(|c| {
            let d = c.dims;
            format!(
                "{}, {} layers of {}, {} heads of {}, {} for keys and values",
                c.model_type, d.layers, d.hidden, d.heads, d.head_dim, d.kv_heads
            )
        }),
        Check::Names => read(format!("{} tensors", tensors.len())),
        Check::Shapes => read(format!("{} parameters", inspection.parameters)),
        Check::Types => {
            let mut types: Vec<&str> = tensors.iter().map(|t| t.dtype.as_str()).collect();
            types.sort_unstable();
            types.dedup();
            read(types.join(", "))
        }
        Check::Values => Some("no NaN, none infinite".to_string()).filter(|_| !tensors.is_empty()),
        Check::Norms => largest(inspection, "norm.weight", "gains"),
        Check::Scales => largest(inspection, ".scales", "scales"),
        Check::Head => config.map(|c| {
            let own = tensors.iter().any(|t| t.name == "lm_head.weight");
            let words = match (c.tied, own) {
                (true, false) => "the embedding",
                (true, true) => "equal to the embedding",
                (false, _) => "its own",
            };
            words.to_string()
        }),
        Check::Tokenizer => {
            let rows = config?.dims.vocab_rows;
            inspection.largest_id.map(|id| format!("largest id {id}, the embedding has {rows} rows"))
        }
    }
}

/// The range of the largest values of tensors of one kind.
fn largest(inspection: &Inspection, ending: &str, what: &str) -> Option<String> {
    let of_kind = inspection.tensors.iter().filter(|t| t.name.ends_with(ending));
    let values: Vec<f32> = of_kind.filter_map(|t| t.max_abs).collect();
    let least = values.iter().copied().reduce(f32::min)?;
    let most = values.iter().copied().reduce(f32::max)?;
    Some(format!("{} tensors of {what}, largest values {least:.3e} to {most:.3e}", values.len()))
}
