//! An answer as it is printed and as it is remembered.
//!
//! In: tokens as they come. Out: text to print: the answer's own where a program reads it; for a person at a terminal
//! words wrapped, and thinking dimmed under a heading instead of between tags. Invariant: the remembered text is what
//! was sampled, unstyled, and shows where its thinking began even if the template had opened it.

use super::wrap::Wrap;
use qwenc_engine::inference::generate::Sampled;
use qwenc_text::stops::Stops;
use qwenc_text::stream::TextStream;
use qwenc_text::tokenizer::Tokenizer;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
const HEADING: &str = "Thinking:\n";
const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Secondary text as people see it.
pub(super) fn dimmed(text: &str) -> String {
    format!("{DIM}{text}{PLAIN}")
}

/// An answer in the making.
pub(super) struct Answer<'t> {
    stream: TextStream<'t>,
    stops: Stops,
    /// A stop string came: the answer is over.
    pub(super) stopped: bool,
    /// The text to remember.
    pub(super) text: String,
    /// Ids of `<think>` and `</think>`, in vocabularies that have them as tokens.
    tags: [Option<u32>; 2],
    /// The person's view; none where a program reads.
    screen: Option<Screen>,
}

impl<'t> Answer<'t> {
    /// `prompt` is the rendered prompt, which may have opened the thinking; `width`: columns of the terminal, if the
    /// reader has one.
    pub(super) fn new(
        tokenizer: &'t Tokenizer,
        prompt: &str,
        stop: &[String],
        width: Option<usize>,
    ) -> Answer<'t> {
        let tags = [OPEN, CLOSE].map(|name| tokenizer.added_id(name));
        let opened = prompt.trim_end().ends_with(OPEN);
        // Written back into the history, the answer must show where its thinking began.
        let text = if opened { format!("{OPEN}\n") } else { String::new() };
        let screen = width.map(|width| Screen::new(width, opened));
        let (stream, stops) = (TextStream::beginning(tokenizer), Stops::new(stop.to_vec()));
        Answer { stream, stops, stopped: false, text, tags, screen }
    }

    /// The text to print for a token.
    pub(super) fn push(&mut self, sampled: Sampled) -> String {
        let Sampled::Token(id) = sampled else { return String::new() };
        let (said, stopped) = self.stops.push(&self.stream.push(id));
        self.stopped |= stopped;
        self.text.push_str(&said);
        let Some(screen) = &mut self.screen else { return said };
        let [open, close] = self.tags;
        if Some(id) == open {
            screen.show(said.strip_suffix(OPEN).unwrap_or_default()) + &screen.think()
        } else if Some(id) == close {
            screen.show(said.strip_suffix(CLOSE).unwrap_or_default()) + &screen.answer()
        } else if open.is_none() || close.is_none() {
            screen.show_tagged(&said)
        } else {
            screen.show(&said)
        }
    }

    /// The text to print at the end.
    pub(super) fn finish(&mut self) -> String {
        let mut said = String::new();
        if !self.stopped {
            let (rest, stopped) = self.stops.push(&self.stream.finish());
            said = rest + if stopped { String::new() } else { self.stops.finish() }.as_str();
        }
        self.text.push_str(&said);
        let Some(screen) = &mut self.screen else { return said };
        let held = std::mem::take(&mut screen.held);
        screen.show(&held) + &screen.show(&said) + &screen.flush()
    }
}

/// Part of an answer that is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No visible character came yet.
    Begun,
    Thinking,
    Answering,
}

/// An answer as a person sees it.
struct Screen {
    wrap: Wrap,
    width: usize,
    phase: Phase,
    /// Whether the phase has shown anything; before that white space is dropped.
    shown: bool,
    /// The beginning of what may become a tag, in vocabularies that have no token for it.
    held: String,
}

impl Screen {
    fn new(width: usize, opened: bool) -> Screen {
        let phase = if opened { Phase::Thinking } else { Phase::Begun };
        Screen { wrap: Wrap::default(), width, phase, shown: false, held: String::new() }
    }

    /// Thinking begins.
    fn think(&mut self) -> String {
        let out = self.flush();
        let out = if self.shown { out + self.line_end() } else { out };
        (self.phase, self.shown) = (Phase::Thinking, false);
        out
    }

    /// Thinking ends; a blank line sets the answer apart from it.
    fn answer(&mut self) -> String {
        let apart = self.phase == Phase::Thinking && self.shown;
        let out = self.flush();
        let out = if apart { out + self.line_end() + "\n" } else { out };
        if self.phase != Phase::Answering {
            (self.phase, self.shown) = (Phase::Answering, false);
        }
        out
    }

    /// A line break unless the line is empty.
    fn line_end(&mut self) -> &'static str {
        let end = if self.wrap.at_line_start() { "" } else { "\n" };
        self.wrap = Wrap::default();
        end
    }

    /// Text of the phase that the answer is in.
    fn show(&mut self, text: &str) -> String {
        let text = if self.shown { text } else { text.trim_start() };
        if text.is_empty() {
            return String::new();
        }
        if self.phase == Phase::Begun {
            self.phase = Phase::Answering;
        }
        let heading = if self.phase == Phase::Thinking && !self.shown { HEADING } else { "" };
        self.shown = true;
        let said = format!("{heading}{}", self.wrap.push(text, self.width));
        self.style(said)
    }

    /// [`show`](Screen::show) for text in which tags are text too: a tag at the beginning opens the thinking.
    fn show_tagged(&mut self, text: &str) -> String {
        self.held += text;
        let held = std::mem::take(&mut self.held);
        match self.phase {
            Phase::Begun => {
                let begun = held.trim_start();
                if let Some(rest) = begun.strip_prefix(OPEN) {
                    self.think() + &self.show_tagged(rest)
                } else if OPEN.starts_with(begun) {
                    self.held = held;
                    String::new()
                } else {
                    self.show(&held)
                }
            }
            Phase::Thinking => {
                if let Some((thought, said)) = held.split_once(CLOSE) {
                    return self.show(thought) + &self.answer() + &self.show(said);
                }
                let cut = (0..CLOSE.len()).rev().find(|&n| held.ends_with(&CLOSE[..n])).unwrap_or(0);
                let (thought, rest) = held.split_at(held.len() - cut);
                self.held = rest.to_owned();
                self.show(thought)
            }
            Phase::Answering => self.show(&held),
        }
    }

    /// The word that was held back.
    fn flush(&mut self) -> String {
        let said = self.wrap.finish(self.width);
        self.style(said)
    }

    fn style(&self, said: String) -> String {
        if self.phase != Phase::Thinking || said.is_empty() {
            return said;
        }
        // Per piece, so that the terminal is plain however the program ends.
        dimmed(&said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Screen after a text that comes in pieces of `size` characters, dimmed parts in brackets.
    fn seen(text: &str, opened: bool, size: usize) -> String {
        let mut screen = Screen::new(40, opened);
        let all: Vec<char> = text.chars().collect();
        let mut out: String =
            all.chunks(size).map(|piece| screen.show_tagged(&piece.iter().collect::<String>())).collect();
        let held = std::mem::take(&mut screen.held);
        out += &screen.show(&held);
        out += &screen.flush();
        out.replace(&format!("{PLAIN}{DIM}"), "").replace(DIM, "[").replace(PLAIN, "]")
    }

    #[test]
    fn tags_never_show_and_thinking_has_a_heading() {
        for (text, opened, expected) in [
            ("<think>\nHm, so.\n</think>\n\nYes.", false, "[Thinking:\nHm, so.\n]\nYes."),
            ("Hm, so.</think>Yes.", true, "[Thinking:\nHm, so.]\n\nYes."),
            ("<think>\n\n</think>\n\nYes.", false, "Yes."),
            ("\n</think>\n\nYes.", true, "Yes."),
            ("\n<think>Hm", false, "[Thinking:\nHm]"),
            ("a < b, <think", false, "a < b, <think"),
            ("<thin", false, "<thin"),
            ("<think>a </thin b", false, "[Thinking:\na </thin b]"),
            ("The tag <think> in a text.", false, "The tag <think> in a text."),
        ] {
            for size in 1..=text.chars().count() {
                assert_eq!(seen(text, opened, size), expected, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn thinking_is_wrapped_as_the_answer_is() {
        let text = "<think>one two three four five six seven eight nine</think>ten";
        let expected = "[Thinking:\none two three four five six seven eight\nnine]\n\nten";
        assert_eq!(seen(text, false, 4), expected);
    }
}
