//! A text's tokens, where no executable is at hand to make them. In: tokenizer.json and a text. Out: ids, with whatever
//! the tokenizer puts before and after a prompt, as an executable has them. The only file of this crate that knows
//! tokenizers.

use std::str::FromStr;

use anyhow::{anyhow, Result};
use tokenizers::Tokenizer;

/// Ids of a prompt.
pub fn encode_prompt(tokenizer_json: &str, text: &str) -> Result<Vec<u32>> {
    let wrong = |e: tokenizers::Error| anyhow!("tokenizer.json: {e}");
    let tokenizer = Tokenizer::from_str(tokenizer_json).map_err(wrong)?;
    Ok(tokenizer.encode_fast(text, true).map_err(wrong)?.get_ids().to_vec())
}
