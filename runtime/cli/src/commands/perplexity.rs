//! `perplexity`: how well the model predicts a text.
//!
//! In: a text. Out: its tokens, nats per token and their exponential. Invariant: every token is predicted once, from those
//! before it in its part; a part is as long as the context, and begins with whatever the tokenizer puts before a prompt.
//! A token with nothing before it is not predicted. The KV cache is what answers would use.

use std::path::Path;

use serde_json::json;

use crate::cli::{Machine, Perplexity};
use crate::commands::opened::{Opened, Use};
use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::session::{check_context, Session};
use qwenc_engine::inference::step::Wanted;
use qwenc_engine::program::Program;

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(
    program: &Program,
    weights: Option<&Path>,
    args: &Perplexity,
    console: &mut Console,
) -> Result<()> {
    let text = read(&args.text, console)?;
    let opened = Opened::new(program, weights)?;
    let tokenizer = opened.text("read a text")?;
    let tokens = tokenizer.encode_prompt(&text)?;
    let prefix = tokenizer.encode_prompt("")?;
    let prefix = if tokens.starts_with(&prefix) { &prefix[..] } else { &[] };
    let longest = check_context(args.machine.context, program.code.sizes().max_context as usize)?;
    let context = longest.min(tokens.len());
    if tokens.len() < 2 || context < prefix.len() + 1 || context < 2 {
        let found = format!("{} tokens in parts of {context}", tokens.len());
        return Err(Error::Usage(format!(
            "nothing to predict: {found}; give a longer text or a larger --context"
        )));
    }
    let machine = Machine { context: Some(context), ..args.machine };
    let kv = opened.kv(&machine)?;
    let wanted = Use { outputs: context, sequences: 1, kv };
    // SAFETY: by the caller's promise.
    let mut engine = unsafe { opened.engine(program, &machine, wanted)? };
    tokens.iter().try_for_each(|&t| engine.check_token(t))?;
    let mut session = Session::new(&engine, machine.context, kv)?;
    session.adapt(opened.adapter(&args.adapter)?);
    let (mut nats, mut count, mut parts) = (0.0, 0u64, 0u64);
    for part in tokens[prefix.len()..].chunks(context - prefix.len()) {
        let part = [prefix, part].concat();
        session.truncate(0);
        session.feed(&mut engine, &part, Wanted::All, |at, logits| {
            // Tokens that the tokenizer puts before a text are given, not predicted.
            if at + 1 >= prefix.len() && at + 1 < part.len() {
                nats += surprise(logits, part[at + 1] as usize);
                count += 1;
            }
            Ok(())
        })?;
        parts += 1;
    }
    console.print(&shown(nats / count as f64, [count, parts, context as u64], args.json))
}

/// Nats per token, and counts of tokens, parts and of a part's tokens.
fn shown(nats: f64, [tokens, parts, context]: [u64; 3], as_json: bool) -> String {
    let perplexity = nats.exp();
    match as_json {
        true => {
            let report = json!({
                "tokens": tokens,
                "parts": parts,
                "context": context,
                "nats_per_token": nats,
                "perplexity": perplexity,
            });
            format!("{report:#}\n")
        }
        false => format!(
            "tokens          {tokens} predicted, in {parts} part(s) of at most {context}\n\
             nats per token  {nats:.6}\n\
             perplexity      {perplexity:.4}\n"
        ),
    }
}

/// The negative logarithm of the probability of `token`.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum();
    sum.ln() + largest - f64::from(logits[token])
}

fn read(path: &Path, console: &mut Console) -> Result<String> {
    if path != Path::new("-") {
        let text = qwenc_files::text_stream(path).and_then(std::io::read_to_string);
        return text.map_err(Error::file("read", path));
    }
    let mut text = String::new();
    console.input.read_to_string(&mut text).map_err(Error::input)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surprise_is_the_logarithm_of_the_probability() {
        assert!((surprise(&[0.0, 0.0, 0.0, 0.0], 2) - 4f64.ln()).abs() < 1e-12);
        let (e, logits) = (1f64.exp(), [1000.0, 1001.0]);
        assert!((surprise(&logits, 0) - (1.0 + e).ln()).abs() < 1e-12);
        assert!((surprise(&logits, 1) - (1.0 + 1.0 / e).ln()).abs() < 1e-12);
        assert!(surprise(&[f32::NAN, 1.0], 0).is_nan());
    }
}
