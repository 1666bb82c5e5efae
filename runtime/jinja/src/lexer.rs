//! The text of a template as tokens, with Jinja's rules for whitespace.
//!
//! In: source. Out: tokens. Invariant: line ends are "\n", one at the end is dropped; `-` strips all whitespace beside
//! a tag, `+` keeps it; without a sign a block or comment takes the blanks before it, if it begins its line, and the
//! line end after it. `tags` reads what stands inside of tags.

use std::sync::Arc;

use num_bigint::BigInt;

use crate::error::{Fault, Outcome};
use crate::tags;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Data(String),
    BlockBegin,
    BlockEnd,
    VariableBegin,
    VariableEnd,
    Name(Arc<str>),
    Str(String),
    Int(BigInt),
    Float(f64),
    Op(&'static str),
    End,
}

/// Tokens with their lines, while the source is read.
pub(crate) struct Lexer<'s> {
    pub source: &'s str,
    pub at: usize,
    pub line: u32,
    pub tokens: Vec<(u32, Token)>,
    /// The last piece ended with a line end.
    line_starting: bool,
}

/// Python's `str.isspace` for one character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The tokens of a template.
pub(crate) fn tokens(source: &str) -> Outcome<Vec<(u32, Token)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, at: 0, line: 1, tokens: Vec::new(), line_starting: true };
    while lexer.piece()? {}
    let line = lexer.line;
    lexer.tokens.push((line, Token::End));
    Ok(lexer.tokens)
}

impl<'s> Lexer<'s> {
    /// The source that is not read yet.
    pub fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    /// Goes on by bytes.
    pub fn skip(&mut self, bytes: usize) {
        let skipped = &self.source[self.at..self.at + bytes];
        self.line += skipped.matches('\n').count() as u32;
        if let Some(last) = skipped.chars().next_back() {
            self.line_starting = last == '\n';
        }
        self.at += bytes;
    }

    /// Adds a token of this line.
    pub fn push(&mut self, token: Token) {
        self.tokens.push((self.line, token));
    }

    /// A syntax error on this line.
    pub fn wrong<T>(&self, message: impl Into<String>) -> Outcome<T> {
        Err(Fault::Syntax { line: self.line, message: message.into() })
    }

    /// Skips whitespace.
    pub fn skip_space(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Reads a text and the tag after it; false at the end.
    fn piece(&mut self) -> Outcome<bool> {
        let rest = self.rest();
        let begin = rest
            .match_indices('{')
            .find(|(i, _)| matches!(rest.as_bytes().get(i + 1), Some(b'{' | b'%' | b'#')));
        let Some((begin, _)) = begin else {
            if !rest.is_empty() {
                self.push(Token::Data(rest.to_string()));
                self.skip(rest.len());
            }
            return Ok(false);
        };
        let kind = rest.as_bytes()[begin + 1];
        let sign = rest.as_bytes().get(begin + 2).copied().filter(|c| matches!(c, b'-' | b'+'));
        let text = self.before_tag(&rest[..begin], kind, sign);
        if !text.is_empty() {
            self.push(Token::Data(text.to_string()));
        }
        self.skip(begin + 2 + usize::from(sign.is_some()));
        match kind {
            b'#' => self.comment()?,
            b'{' => {
                self.push(Token::VariableBegin);
                tags::variable(self)?;
            }
            _ if self.raw_begins() => self.raw()?,
            _ => {
                self.push(Token::BlockBegin);
                tags::block(self)?;
            }
        }
        Ok(true)
    }

    /// The text before a tag, without the whitespace that the tag takes.
    fn before_tag(&self, text: &'s str, kind: u8, sign: Option<u8>) -> &'s str {
        match sign {
            Some(b'-') => text.trim_end_matches(is_space),
            None if kind != b'{' => {
                let line = text.rfind('\n').map_or(0, |i| i + 1);
                let begins_line = line > 0 || self.line_starting;
                match begins_line && text[line..].chars().all(is_space) {
                    true => &text[..line],
                    false => text,
                }
            }
            _ => text,
        }
    }

    /// Finds `end`, the end of a tag, with its sign. Returns the text before it; what the sign takes is skipped.
    fn until(&mut self, end: &str, missing: &str) -> Outcome<&'s str> {
        let rest = self.rest();
        let Some(found) = rest.find(end) else { return self.wrong(missing) };
        let sign = rest.as_bytes()[..found].last().copied().filter(|c| matches!(c, b'-' | b'+'));
        self.skip(found + end.len());
        self.after_tag(sign);
        Ok(&rest[..found - usize::from(sign.is_some())])
    }

    /// Skips the whitespace that the end of a block or comment takes.
    pub fn after_tag(&mut self, sign: Option<u8>) {
        match sign {
            Some(b'-') => self.skip_space(),
            None if self.rest().starts_with('\n') => self.skip(1),
            _ => {}
        }
    }

    fn comment(&mut self) -> Outcome<()> {
        self.until("#}", "missing end of comment tag").map(|_| ())
    }

    /// True at ` raw %}`; then it is skipped.
    fn raw_begins(&mut self) -> bool {
        let Some(after) = self.rest().trim_start_matches(is_space).strip_prefix("raw") else { return false };
        let after = after.trim_start_matches(is_space);
        let (after, strips) = match (after.strip_prefix("-%}"), after.strip_prefix("%}")) {
            (Some(after), _) => (after, true),
            (_, Some(after)) => (after, false),
            _ => return false,
        };
        self.skip(self.rest().len() - after.len());
        if strips {
            self.skip_space();
        }
        true
    }

    /// The text up to `{% endraw %}`.
    fn raw(&mut self) -> Outcome<()> {
        let rest = self.rest();
        for (begin, _) in rest.match_indices("{%") {
            let tag = &rest[begin + 2..];
            let sign = tag.as_bytes().first().copied().filter(|c| matches!(c, b'-' | b'+'));
            let inner = tag[usize::from(sign.is_some())..].trim_start_matches(is_space);
            let Some(inner) = inner.strip_prefix("endraw") else { continue };
            let inner = inner.trim_start_matches(is_space);
            let end_sign = inner.as_bytes().first().copied().filter(|c| matches!(c, b'-' | b'+'));
            let Some(after) = inner[usize::from(end_sign.is_some())..].strip_prefix("%}") else { continue };
            let text = self.before_tag(&rest[..begin], b'%', sign);
            if !text.is_empty() {
                self.push(Token::Data(text.to_string()));
            }
            self.skip(rest.len() - after.len());
            self.after_tag(end_sign);
            return Ok(());
        }
        self.wrong("missing end of raw directive")
    }
}
