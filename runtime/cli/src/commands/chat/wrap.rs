//! Text at a terminal, with line breaks between words instead of within them.
//!
//! In: text in pieces of any length, the terminal's width. Out: the same text with line breaks added; a word is held
//! back until it is complete. Invariant: code blocks and table rows get no line breaks, and no control character but
//! tab and line break reaches the terminal, so that a model cannot move the cursor or change the terminal's state.

use unicode_width::UnicodeWidthChar;

/// Punctuation that never begins a line of wide characters.
const CLINGING: &str = "、。，．：；！？）］｝〕〉》」』】…—～・ー％";
const TAB: usize = 8;

/// The state of the line that is being printed.
#[derive(Debug, Default)]
pub(super) struct Wrap {
    /// Columns printed on this line.
    column: usize,
    /// Columns of the spaces before `word`, printed with it or replaced by a line break.
    gap: usize,
    /// The word so far, not printed yet.
    word: String,
    word_width: usize,
    in_code_block: bool,
    line: LineKind,
}

/// The kind of a line, known by its first word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LineKind {
    #[default]
    Empty,
    Text,
    TableRow,
    CodeFence,
}

impl Wrap {
    /// The text that can be printed once `text` has come; `width` is that of the terminal in columns.
    pub(super) fn push(&mut self, text: &str, width: usize) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => self.end_line(width, &mut out),
                ' ' => {
                    self.print_word(width, &mut out);
                    self.gap += 1;
                }
                '\t' => {
                    self.print_word(width, &mut out);
                    self.gap += TAB - (self.column + self.gap) % TAB;
                }
                '\r' => {}
                c => self.add(visible(c), width, &mut out),
            }
        }
        out
    }

    /// The word that was held back, at the end of the text.
    pub(super) fn finish(&mut self, width: usize) -> String {
        let mut out = String::new();
        self.print_word(width, &mut out);
        *self = Wrap { column: self.column, ..Wrap::default() };
        out
    }

    /// Whether the line has nothing printed on it.
    pub(super) fn at_line_start(&self) -> bool {
        self.column == 0
    }

    fn end_line(&mut self, width: usize, out: &mut String) {
        self.print_word(width, out);
        out.push('\n');
        if self.line == LineKind::CodeFence {
            self.in_code_block = !self.in_code_block;
        }
        (self.column, self.gap, self.line) = (0, 0, LineKind::Empty);
    }

    fn add(&mut self, c: char, width: usize, out: &mut String) {
        let columns = c.width().unwrap_or(0);
        let after_wide = self.word.chars().next_back().is_some_and(|last| last.width() == Some(2));
        let may_break = (columns == 2 || after_wide) && columns > 0 && !CLINGING.contains(c);
        if may_break || self.word_width + columns > width {
            self.print_word(width, out);
        }
        self.word.push(c);
        self.word_width += columns;
    }

    fn print_word(&mut self, width: usize, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        if self.line == LineKind::Empty {
            self.line = match self.word.as_str() {
                w if w.starts_with("```") || w.starts_with("~~~") => LineKind::CodeFence,
                w if w.starts_with('|') => LineKind::TableRow,
                _ => LineKind::Text,
            };
        }
        let wraps = self.line == LineKind::Text && !self.in_code_block;
        if wraps && self.column > 0 && self.column + self.gap + self.word_width > width {
            out.push('\n');
            self.column = 0;
        } else {
            out.extend(std::iter::repeat_n(' ', self.gap));
            self.column += self.gap;
        }
        out.push_str(&self.word);
        self.column += self.word_width;
        self.word.clear();
        (self.gap, self.word_width) = (0, 0);
    }
}

/// The character, or a picture of a control character.
fn visible(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps a text that comes in pieces of `size` characters.
    fn wrapped(text: &str, width: usize, size: usize) -> String {
        let (mut wrap, mut out) = (Wrap::default(), String::new());
        let all: Vec<char> = text.chars().collect();
        for piece in all.chunks(size) {
            out += &wrap.push(&piece.iter().collect::<String>(), width);
        }
        out + &wrap.finish(width)
    }

    #[test]
    fn lines_break_between_words_however_the_text_comes() {
        for (text, expected) in [
            ("one two three four", "one two\nthree four"),
            ("one two th", "one two th"),
            ("  indented words", "  indented\nwords"),
            ("ten chars!\nnext", "ten chars!\nnext"),
            ("ten chars! next", "ten chars!\nnext"),
            ("a\n\nb  c", "a\n\nb  c"),
            ("abcdefghijklmno p", "abcdefghij\nklmno p"),
            ("x abcdefghijklmno", "x\nabcdefghij\nklmno"),
            // A wide character takes two columns, and a line may end after any but before no closing punctuation.
            ("你好世界你好世界", "你好世界你\n好世界"),
            ("你好世界你。好", "你好世界\n你。好"),
            ("word 你好世", "word 你好\n世"),
            // Combining characters take none.
            (
                "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301} abcd",
                "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301} abcd",
            ),
            // Lines that are not prose stay as they are.
            (
                "```\nlet x = a + b + c;\n```\nand so on it goes",
                "```\nlet x = a + b + c;\n```\nand so on\nit goes",
            ),
            ("| a cell | another |\nwords and words", "| a cell | another |\nwords and\nwords"),
            ("a\tb", "a       b"),
            // Nothing moves the cursor.
            ("a\x1b[2Jb\x07\r\nc\u{9b}1m", "a\u{241b}[2Jb\u{2407}\nc\u{fffd}1m"),
        ] {
            for size in 1..=text.chars().count() {
                assert_eq!(wrapped(text, 10, size), expected, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn nothing_is_lost_at_any_width() {
        let text = "Ein Satz, 一个句子。 `code` — **bold** 🦀🦀🦀, and a-long-word-that-fits-nowhere.";
        for width in [1, 2, 3, 7, 20, 1000, usize::MAX] {
            let out = wrapped(text, width, 3);
            let letters = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(letters(&out), letters(text), "{width}");
            let longest = out.lines().map(|l| l.chars().filter_map(|c| c.width()).sum::<usize>()).max();
            assert!(width < 4 || longest <= Some(width), "{width}: {out}");
        }
    }
}
