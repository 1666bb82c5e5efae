//! A text's tokens, where no executable is at hand to make them. In: tokenizer.json and a text. Out: ids, with whatever
//! the tokenizer puts before and after a prompt, as an executable has them. The only file of this crate that knows
//! tokenizers.

use std::str::FromStr;

use anyhow::{anyhow, Result};
use tokenizers::Tokenizer;

/// Ids of a prompt.
pub fn encode_prompt(tokenizer_json: &str, text: &str) -> Result<Vec<u32>> {
    let tokenizer = opened(tokenizer_json)?;
    Ok(tokenizer.encode_fast(text, true).map_err(wrong)?.get_ids().to_vec())
}

/// Whether an executable can read this tokenizer.json.
pub fn readable(tokenizer_json: &str) -> Result<()> {
    opened(tokenizer_json).map(drop)
}

fn opened(tokenizer_json: &str) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_str(tokenizer_json).map_err(wrong)?;
    // They were switched on when the file was saved; transformers leaves them out too.
    tokenizer.with_padding(None).with_truncation(None).map_err(wrong)?;
    Ok(tokenizer)
}

fn wrong(e: tokenizers::Error) -> anyhow::Error {
    anyhow!("tokenizer.json: {e}; save it again with the tokenizers library")
}
