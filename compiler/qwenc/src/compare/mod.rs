//! `qwenc compare`: two models on the same tokens, activation by activation.
//!
//! In: two of model files, checkpoints, executables and files of activations. Out: a table in the order in which a model
//! computes, the first activation that is out of line, and how far the logits are apart; exit code 1 if one is out of
//! line. Invariant: what only one side has is counted and not judged; A is the reference that errors are relative to.

mod distance;
mod order;
mod side;

use std::fmt::Write;

use anyhow::{anyhow, bail, Context, Result};

use crate::args::Compare;
use crate::inspect::print;
use crate::{executable, text, Misuse};
use distance::{Distance, Logits};
use order::{rank, Judge};
use side::Side;

use crate::outcome::Outcome;

/// The logits' name among the activations.
const LOGITS: &str = "logits";

pub fn run(args: &Compare) -> Result<()> {
    let sides = [&args.a, &args.b].map(|path| Side::open(path, args.stated.hints()?));
    let [a, b] = sides;
    let (a, b) = (a?, b?);
    let tokens = tokens(args, [&a, &b])?;
    let run = |side: &Side, name: &'static str| side.run(&tokens).context(name);
    let (found_a, found_b) = (run(&a, "A")?, run(&b, "B")?);
    let mut judge = Judge::new(args.tolerance.unwrap_or_else(|| order::noise(a.types(), b.types())));
    let mut table = format!(
        "A: {}\nB: {}\n{} tokens; errors are |B - A| / |A|, the worst token's too\n\n",
        a.words(&found_a),
        b.words(&found_b),
        tokens.len()
    );
    let lines = lines(&found_a, &found_b, tokens.len())?;
    let names = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    // Writing to a string does not fail.
    let _ = writeln!(table, "{:<names$} {:>10} {:>10} {:>10}", "activation", "error", "cosine", "worst");
    for (name, d) in &lines {
        let mark = if judge.out_of_line(name, d) { "  out of line" } else { "" };
        let worst = format!("{:>10.3e} at {}", d.worst, d.token);
        let _ = writeln!(table, "{name:<names$} {:>10.3e} {:>10.7} {worst}{mark}", d.relative, d.cosine);
    }
    let [only_a, only_b] = [(&found_a, &found_b), (&found_b, &found_a)]
        .map(|(one, other)| one.values.keys().filter(|name| !other.values.contains_key(*name)).count());
    let _ = writeln!(table, "\n{} compared; only A has {only_a} others, only B {only_b}", lines.len());
    if let (Some(a), Some(b)) = (found_a.values.get(LOGITS), found_b.values.get(LOGITS)) {
        let _ = writeln!(table, "{}", Logits::between(a, b, tokens.len()));
    }
    let first = judge.first().map(str::to_string);
    let _ = writeln!(table, "{}", judge.verdict());
    print(table.as_bytes())?;
    match first {
        None => Ok(()),
        Some(name) => bail!("{} and {} differ from {name} on", args.a.display(), args.b.display()),
    }
}

/// Values that both have, in the order of the computation.
fn lines(a: &Outcome, b: &Outcome, tokens: usize) -> Result<Vec<(String, Distance)>> {
    let mut names: Vec<&String> = a.values.keys().filter(|name| b.values.contains_key(*name)).collect();
    names.sort_by_key(|name| rank(name));
    if names.is_empty() {
        bail!("A and B have nothing of the same name; is one of them a file without logits?");
    }
    let one = |name: &&String| {
        let (a, b) = (&a.values[*name], &b.values[*name]);
        if a.len() != b.len() {
            return Err(anyhow!("{name}: A has {} values, B {}; are they the same model?", a.len(), b.len()));
        }
        Ok((name.to_string(), Distance::between(a, b, tokens)))
    };
    names.iter().map(one).collect()
}

/// The tokens to run: those that were given, those of the text, or those of a file of activations.
fn tokens(args: &Compare, sides: [&Side; 2]) -> Result<Vec<u32>> {
    let of_files: Vec<(&Side, &[u32])> = sides.into_iter().filter_map(|s| Some((s, s.tokens()?))).collect();
    let given = match &args.prompt {
        Some(prompt) => Some(encoded(prompt, sides)?),
        None => Some(args.tokens.clone()).filter(|tokens| !tokens.is_empty()),
    };
    let wanted = given.or_else(|| of_files.first().map(|(_, tokens)| tokens.to_vec()));
    let Some(wanted) = wanted else {
        let what = "give --tokens 1,2,3 or --prompt TEXT: only a file of activations brings its own tokens";
        return Err(Misuse(what.to_string()).into());
    };
    for (side, tokens) in of_files {
        if tokens != wanted {
            let what = format!(
                "{}: its activations are of {} other tokens; leave --tokens and --prompt away",
                side.path(),
                tokens.len()
            );
            return Err(Misuse(what).into());
        }
    }
    match wanted.is_empty() {
        true => Err(Misuse("the prompt is empty".to_string()).into()),
        false => Ok(wanted),
    }
}

/// A text's tokens, by whichever side has a tokenizer.
fn encoded(prompt: &str, sides: [&Side; 2]) -> Result<Vec<u32>> {
    for side in sides {
        match side {
            Side::Model { model, .. } => {
                if let Some(json) = &model.side_files().tokenizer_json {
                    return text::encode_prompt(json, prompt).with_context(|| side.path());
                }
            }
            Side::Executable { path, .. } => return executable::encode_prompt(path, prompt),
            Side::Dump { .. } => {}
        }
    }
    bail!("--prompt: neither A nor B has a tokenizer; give --tokens")
}
