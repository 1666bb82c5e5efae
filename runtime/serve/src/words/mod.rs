//! From tokens to what a client reads: whole characters, thinking apart from the answer, calls of tools apart from
//! both, and nothing from a stop string on.
//!
//! In: ids, one by one. Out: [`Piece`]s. Invariant: a piece is final when it is given; the same pieces make a stream
//! and a whole answer.
//!
//! `calls` reads calls of tools.

pub mod calls;

use std::sync::Arc;

use crate::words::calls::CallReader;
use qwenc_text::stops::Stops;
use qwenc_text::stream::Held;
use qwenc_text::tokenizer::Tokenizer;

/// Part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text of the answer itself.
    Content(String),
    /// Text of the thinking before it.
    Reasoning(String),
    /// A call of a tool begins.
    Call {
        /// Its place among the calls of the answer.
        index: usize,
        /// The function.
        name: String,
    },
    /// More of a call's arguments, as JSON text.
    Arguments {
        /// Whose.
        index: usize,
        /// The text.
        text: String,
    },
}

/// Structure to find in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing: all is content.
    Plain,
    /// An answer of a chat.
    Chat {
        /// The prompt ends amid thinking.
        opened: bool,
        /// Calls are to be read.
        calls: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Content,
    Reasoning,
    Call,
}

/// The reader of one answer.
pub struct Words {
    tokenizer: Arc<Tokenizer>,
    held: Held,
    think: Option<(u32, u32)>,
    call: Option<(u32, u32)>,
    place: Where,
    /// Nothing was said yet.
    fresh: bool,
    /// Line breaks are dropped until something else comes.
    trim: bool,
    /// Line breaks that are said only if something follows.
    tail: String,
    stops: Stops,
    reader: CallReader,
    calls: usize,
    stopped: bool,
}

impl Words {
    /// A reader that ends at the first of `stops`.
    pub fn new(tokenizer: &Arc<Tokenizer>, reading: Reading, stops: Vec<String>) -> Words {
        let pair = |begin, end| tokenizer.added_id(begin).zip(tokenizer.added_id(end));
        let (think, call, opened) = match reading {
            Reading::Plain => (None, None, false),
            Reading::Chat { opened, calls } => {
                let call = if calls { pair("<tool_call>", "</tool_call>") } else { None };
                (pair("<think>", "</think>"), call, opened)
            }
        };
        Words {
            tokenizer: Arc::clone(tokenizer),
            held: Held::default(),
            think,
            call,
            place: if opened { Where::Reasoning } else { Where::Content },
            fresh: true,
            trim: opened,
            tail: String::new(),
            stops: Stops::new(stops),
            reader: CallReader::default(),
            calls: 0,
            stopped: false,
        }
    }

    /// Whether a stop string came: nothing follows.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether all that came so far was said.
    pub fn is_certain(&self) -> bool {
        self.held.is_empty() && self.stops.is_empty()
    }

    /// Calls that were begun.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Pieces that are certain once `id` has come.
    pub fn push(&mut self, id: u32) -> Vec<Piece> {
        let mut out = Vec::new();
        if self.stopped {
            return out;
        }
        let is = |pair: Option<(u32, u32)>| pair.map_or((false, false), |(b, e)| (id == b, id == e));
        let ((thinks, answers), (calls, called)) = (is(self.think), is(self.call));
        match self.place {
            Where::Content if thinks && self.fresh => self.go(Where::Reasoning, &mut out),
            Where::Reasoning if answers => self.go(Where::Content, &mut out),
            Where::Content if calls => self.go(Where::Call, &mut out),
            Where::Call if called => self.go(Where::Content, &mut out),
            _ => {
                let text = self.held.push(&self.tokenizer.bytes(id));
                self.say(text, &mut out);
            }
        }
        self.fresh = false;
        out
    }

    /// Pieces that were held back, now that no token follows.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut out = Vec::new();
        if self.stopped {
            return out;
        }
        let rest = self.held.finish();
        self.say(rest, &mut out);
        self.leave(&mut out);
        if self.place == Where::Content && self.calls == 0 && !self.tail.is_empty() {
            out.push(Piece::Content(std::mem::take(&mut self.tail)));
        }
        out
    }

    fn go(&mut self, to: Where, out: &mut Vec<Piece>) {
        let rest = self.held.finish();
        self.say(rest, out);
        self.leave(out);
        if self.stopped {
            return;
        }
        (self.place, self.trim) = (to, true);
        self.tail.clear();
    }

    /// Appends the pieces that were held back in the present state.
    fn leave(&mut self, out: &mut Vec<Piece>) {
        match self.place {
            Where::Content if !self.stopped => {
                let rest = self.stops.finish();
                self.content(&rest, out);
            }
            Where::Call => {
                let read = self.reader.finish(self.calls);
                self.called(read, out);
            }
            Where::Content | Where::Reasoning => {}
        }
    }

    fn say(&mut self, text: String, out: &mut Vec<Piece>) {
        if self.place == Where::Call {
            let read = self.reader.push(&text, self.calls);
            return self.called(read, out);
        }
        let mut text = text.as_str();
        if self.trim {
            text = text.trim_start_matches('\n');
            self.trim = text.is_empty();
        }
        if self.place == Where::Reasoning {
            let said = self.hold_tail(text);
            if !said.is_empty() {
                out.push(Piece::Reasoning(said));
            }
            return;
        }
        let (said, stopped) = self.stops.push(text);
        self.content(&said, out);
        self.stopped = stopped;
    }

    fn content(&mut self, text: &str, out: &mut Vec<Piece>) {
        // Only before a call are line breaks the call's.
        let said = if self.call.is_some() { self.hold_tail(text) } else { text.to_owned() };
        if !said.is_empty() {
            out.push(Piece::Content(said));
        }
    }

    fn hold_tail(&mut self, text: &str) -> String {
        let whole = std::mem::take(&mut self.tail) + text;
        let said = whole.trim_end_matches('\n').len();
        self.tail = whole[said..].to_owned();
        whole[..said].to_owned()
    }

    fn called(&mut self, read: Vec<Piece>, out: &mut Vec<Piece>) {
        self.calls += read.iter().filter(|p| matches!(p, Piece::Call { .. })).count();
        out.extend(read);
    }
}
