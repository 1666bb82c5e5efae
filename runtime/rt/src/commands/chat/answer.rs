//! An answer as it is printed and as it is remembered.
//!
//! In: tokens as they come. Out: text to print, thinking dimmed for people. Invariant: what is remembered is what was
//! sampled, unstyled, and shows where its thinking began even if the template had opened it.

use crate::inference::generate::Sampled;
use crate::text::stream::TextStream;
use crate::text::tokenizer::Tokenizer;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// A text that is not the answer itself, as people see it.
pub(super) fn dimmed(text: &str) -> String {
    format!("{DIM}{text}{PLAIN}")
}

/// An answer in the making.
pub(super) struct Answer<'t> {
    stream: TextStream<'t>,
    pub(super) text: String,
    think: [Option<u32>; 2],
    styled: bool,
    dim: bool,
}

impl<'t> Answer<'t> {
    /// `prompt` says whether the template already opened the thinking.
    pub(super) fn new(tokenizer: &'t Tokenizer, prompt: &str, styled: bool) -> Answer<'t> {
        let think = ["<think>", "</think>"].map(|name| tokenizer.added_id(name));
        let opened = prompt.trim_end().ends_with("<think>");
        // Written back into the history, the answer must show where its thinking began.
        let text = if opened { "<think>\n".to_owned() } else { String::new() };
        Answer { stream: TextStream::beginning(tokenizer), text, think, styled, dim: opened }
    }

    /// What to print for a token.
    pub(super) fn push(&mut self, sampled: Sampled) -> String {
        let Sampled::Token(id) = sampled else { return String::new() };
        let [begin, end] = self.think;
        let was_dim = self.dim;
        self.dim = (self.dim || Some(id) == begin) && Some(id) != end;
        let said = self.stream.push(id);
        self.text.push_str(&said);
        self.style(said, was_dim)
    }

    /// What to print at the end.
    pub(super) fn finish(&mut self) -> String {
        let said = self.stream.finish();
        self.text.push_str(&said);
        let was_dim = std::mem::replace(&mut self.dim, false);
        self.style(said, was_dim)
    }

    fn style(&self, said: String, was_dim: bool) -> String {
        if !self.styled || !(was_dim || self.dim) || said.is_empty() && was_dim == self.dim {
            return said;
        }
        // Per piece, so that whatever ends the program leaves the terminal plain.
        dimmed(&said)
    }
}
