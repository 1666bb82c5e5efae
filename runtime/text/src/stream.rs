//! Text as it comes: ids or bytes, one after the other.
//!
//! In: pieces. Out: the text that is certain so far. Invariant: what is not yet a whole character is held back; the
//! pieces together are the whole text.

use crate::tokenizer::Tokenizer;

/// Turns a stream of ids into text, holding back what is not yet a whole character.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    held: Held,
    /// Nothing has been said yet, and the first space is not the text's own.
    strip: bool,
}

impl<'t> TextStream<'t> {
    /// A stream that goes on with a text.
    pub fn new(tokenizer: &'t Tokenizer) -> TextStream<'t> {
        TextStream { tokenizer, held: Held::default(), strip: false }
    }

    /// A stream that begins a text: without the space that some tokenizers put before every text.
    pub fn beginning(tokenizer: &'t Tokenizer) -> TextStream<'t> {
        TextStream { strip: tokenizer.strips, ..TextStream::new(tokenizer) }
    }

    /// The text that is certain once `id` has come.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = self.held.push(&self.tokenizer.bytes(id));
        if self.strip && !text.is_empty() {
            self.strip = false;
            if text.starts_with(' ') {
                text.remove(0);
            }
        }
        text
    }

    /// Bytes that were held back, as a replacement character. The stream is then as new.
    pub fn finish(&mut self) -> String {
        self.held.finish()
    }
}

/// Turns a stream of bytes into text, holding back what is not yet a whole character.
#[derive(Debug, Default)]
pub struct Held(Vec<u8>);

impl Held {
    /// Whether nothing waits for the rest of a character.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text that is certain once `bytes` have come.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend(bytes);
        let mut whole = self.0.len();
        for chunk in self.0.utf8_chunks() {
            let bad = chunk.invalid();
            // Only at the end can an error mean "more to come": then the decoder says so.
            let at_end = !bad.is_empty() && bad.as_ptr_range().end == self.0.as_ptr_range().end;
            if at_end && std::str::from_utf8(bad).is_err_and(|e| e.error_len().is_none()) {
                whole = self.0.len() - bad.len();
            }
        }
        let rest = self.0.split_off(whole);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }

    /// Bytes that were held back, as a replacement character. Nothing is held back then.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned()
    }
}
