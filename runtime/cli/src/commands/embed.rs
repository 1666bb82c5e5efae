//! `embed`: texts as vectors of length 1.
//!
//! In: texts, or ids. Out: a JSON list of numbers on a line for each. Invariant: what the server's embeddings are. A text's
//! cosine with another is the sum of their products.

use std::path::Path;

use serde_json::json;

use crate::cli::Embed;
use crate::commands::opened::{Opened, Use};
use crate::console::Console;
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::session::Session;
use qwenc_engine::inference::step::Wanted;
use qwenc_engine::inference::step::{Output, Results};
use qwenc_engine::program::Program;

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(
    program: &Program,
    weights: Option<&Path>,
    args: &Embed,
    console: &mut Console,
) -> Result<()> {
    let opened = Opened::new(program, weights)?;
    let prompts = prompts(&opened, args, console)?;
    if prompts.iter().any(Vec::is_empty) {
        return Err(Error::Usage("a text is empty: it has no token to embed".into()));
    }
    let kv = opened.kv(&args.machine)?;
    // SAFETY: by the caller's promise.
    let mut engine = unsafe { opened.engine(program, &args.machine, Use { outputs: 1, sequences: 1, kv })? };
    let mut session = Session::new(&engine, args.machine.context, kv)?;
    session.adapt(opened.adapter(&args.adapter)?);
    for prompt in &prompts {
        let rest = session.reuse(prompt);
        session.feed_for(&mut engine, rest, (Wanted::Embedding, Results::Picks), |_, output| {
            let Output::Embedding(values) = output else {
                return Err(Error::Internal("logits where an embedding was asked for".into()));
            };
            writeln!(console.output, "{}", json!(values)).map_err(Error::output)
        })?;
    }
    Ok(())
}

fn prompts(opened: &Opened, args: &Embed, console: &mut Console) -> Result<Vec<Vec<u32>>> {
    if args.texts.is_empty() {
        return Ok(vec![args.tokens.clone()]);
    }
    let tokenizer = opened.text("read a text")?;
    let mut prompts = Vec::new();
    for text in &args.texts {
        let read = if text == "-" { Some(console.read_text()?) } else { None };
        prompts.push(tokenizer.encode_prompt(read.as_deref().unwrap_or(text))?);
    }
    Ok(prompts)
}
