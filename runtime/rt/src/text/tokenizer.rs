//! Text to token ids and back, as the checkpoint's tokenizer.json says.
//!
//! In: text, or ids. Out: ids, or the exact bytes of an id. Invariant: the bytes of ids put
//! together are the bytes of the text that they spell; control tokens (special=true) have none. The one
//! file that knows the tokenizers crate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokenizers::decoders::DecoderWrapper;

use crate::error::{Error, Result};

/// The image's tokenizer.
pub struct Tokenizer {
    /// Behind a lock because whether control tokens are recognised is a setting of it.
    inner: Mutex<tokenizers::Tokenizer>,
    added: HashMap<u32, Added>,
    controls: Vec<(String, u32)>,
    spelling: Spelling,
    size: usize,
}

struct Added {
    text: String,
    control: bool,
}

/// How the vocabulary spells bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's: one printable character per byte.
    ByteLevel,
    /// SentencePiece's: U+2581 for a space, `<0x0A>` for bytes that are no character.
    Metaspace,
}

/// Whether control tokens written out in a text mean the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controls {
    /// They do: the text is a prompt that says so, or a rendered template.
    Parsed,
    /// They are just characters: the text comes from a user.
    Literal,
}

impl Tokenizer {
    /// Reads a tokenizer.json.
    pub fn from_bytes(json: &[u8]) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let mut added = HashMap::new();
        let mut controls = Vec::new();
        for (id, token) in inner.get_added_tokens_decoder() {
            if token.special && !token.content.is_empty() {
                controls.push((token.content.clone(), id));
            }
            added.insert(id, Added { text: token.content, control: token.special });
        }
        controls.sort();
        let spelling = match inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => Spelling::ByteLevel,
            Some(DecoderWrapper::Sequence(s))
                if s.get_decoders().iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_))) =>
            {
                Spelling::ByteLevel
            }
            _ => Spelling::Metaspace,
        };
        let size = inner.get_vocab_size(true);
        Ok(Tokenizer { inner: Mutex::new(inner), added, controls, spelling, size })
    }

    /// Number of tokens, added ones included.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The control tokens' texts and ids.
    pub fn controls(&self) -> &[(String, u32)] {
        &self.controls
    }

    /// Ids of a prompt, with whatever the tokenizer puts before and after one (Qwen: nothing).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_with(text, Controls::Parsed, true)
    }

    /// Ids of a text and nothing else.
    pub fn encode(&self, text: &str, controls: Controls) -> Result<Vec<u32>> {
        self.encode_with(text, controls, false)
    }

    fn encode_with(&self, text: &str, controls: Controls, whole_prompt: bool) -> Result<Vec<u32>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.set_encode_special_tokens(controls == Controls::Literal);
        let encoding = inner.encode_fast(text, whole_prompt).map_err(|e| Error::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The bytes that `id` stands for: none for control tokens and unknown ids.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        if let Some(added) = self.added.get(&id) {
            return if added.control { Vec::new() } else { added.text.clone().into_bytes() };
        }
        let token = self.inner.lock().unwrap_or_else(PoisonError::into_inner).id_to_token(id);
        match (token, self.spelling) {
            (None, _) => Vec::new(),
            (Some(token), Spelling::ByteLevel) => byte_level(&token),
            (Some(token), Spelling::Metaspace) => metaspace(&token),
        }
    }

    /// The text of `ids`, incomplete characters replaced.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// For each id below `rows`: whether it is a token.
    pub fn known(&self, rows: usize) -> Vec<bool> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (0..rows as u32).map(|id| inner.id_to_token(id).is_some()).collect()
    }

    /// The id of the token spelt `text`, if it is an added one.
    pub fn added_id(&self, text: &str) -> Option<u32> {
        self.added.iter().find(|(_, a)| a.text == text).map(|(&id, _)| id)
    }
}

fn byte_level(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    // As the reference does: a token that is not spelt in the byte alphabet stands for itself.
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards.
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn metaspace(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    if let Some(byte) = byte.filter(|b| b.len() == 2).and_then(|b| u8::from_str_radix(b, 16).ok()) {
        return vec![byte];
    }
    token.replace('\u{2581}', " ").into_bytes()
}

/// Turns a stream of ids into text, holding back what is not yet a whole character.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    held: Vec<u8>,
}

impl<'t> TextStream<'t> {
    /// A stream with nothing held back.
    pub fn new(tokenizer: &'t Tokenizer) -> TextStream<'t> {
        TextStream { tokenizer, held: Vec::new() }
    }

    /// The text that is certain once `id` has come.
    pub fn push(&mut self, id: u32) -> String {
        self.held.extend(self.tokenizer.bytes(id));
        self.take_whole()
    }

    /// What was held back, as a replacement character. The stream is then as new.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }

    fn take_whole(&mut self) -> String {
        let mut whole = self.held.len();
        for chunk in self.held.utf8_chunks() {
            let bad = chunk.invalid();
            // Only at the end can an error mean "more to come": then the decoder says so.
            let at_end = !bad.is_empty() && bad.as_ptr_range().end == self.held.as_ptr_range().end;
            if at_end && std::str::from_utf8(bad).is_err_and(|e| e.error_len().is_none()) {
                whole = self.held.len() - bad.len();
            }
        }
        let rest = self.held.split_off(whole);
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held = rest;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let mut seen: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn sentencepiece_spelling() {
        assert_eq!(metaspace("<0x0A>"), b"\n");
        assert_eq!(metaspace("\u{2581}the"), b" the");
        assert_eq!(metaspace("<0xZZ>"), b"<0xZZ>");
    }
}
