//! Tokens inside of tags.
//!
//! In: a lexer behind `{{` or `{%`. Out: the tokens up to the tag's end. Invariant: a tag ends only where all brackets
//! are closed; numbers, names and strings are those of Jinja's regular expressions.

use num_bigint::BigInt;

use crate::error::Outcome;
use crate::lexer::{Lexer, Token};

/// Operators, longest first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// Reads up to `}}`.
pub(crate) fn variable(lexer: &mut Lexer) -> Outcome<()> {
    let mut open = Vec::new();
    loop {
        lexer.skip_space();
        let rest = lexer.rest();
        if open.is_empty() {
            if rest.starts_with("}}") {
                lexer.push(Token::VariableEnd);
                lexer.skip(2);
                return Ok(());
            }
            if rest.starts_with("-}}") {
                lexer.push(Token::VariableEnd);
                lexer.skip(3);
                lexer.skip_space();
                return Ok(());
            }
        }
        if !token(lexer, &mut open)? {
            return Ok(());
        }
    }
}

/// Reads up to `%}`.
pub(crate) fn block(lexer: &mut Lexer) -> Outcome<()> {
    let mut open = Vec::new();
    loop {
        lexer.skip_space();
        let rest = lexer.rest();
        if open.is_empty() {
            let sign = rest.as_bytes().first().copied().filter(|c| matches!(c, b'-' | b'+'));
            if rest[usize::from(sign.is_some())..].starts_with("%}") {
                lexer.push(Token::BlockEnd);
                lexer.skip(2 + usize::from(sign.is_some()));
                lexer.after_tag(sign);
                return Ok(());
            }
        }
        if !token(lexer, &mut open)? {
            return Ok(());
        }
    }
}

/// Reads a token; false at the end of the source.
fn token(lexer: &mut Lexer, open: &mut Vec<char>) -> Outcome<bool> {
    let rest = lexer.rest();
    let Some(first) = rest.chars().next() else { return Ok(false) };
    if first.is_ascii_digit() {
        return number(lexer).map(|()| true);
    }
    if first == '"' || first == '\'' {
        return string(lexer, first).map(|()| true);
    }
    if first.is_alphanumeric() || first == '_' {
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if first.is_numeric() {
            return lexer.wrong("invalid character in identifier");
        }
        lexer.push(Token::Name(rest[..length].into()));
        lexer.skip(length);
        return Ok(true);
    }
    let Some(operator) = OPERATORS.iter().find(|o| rest.starts_with(**o)) else {
        return lexer.wrong(format!("unexpected character {first:?}"));
    };
    brackets(lexer, first, open)?;
    lexer.push(Token::Op(operator));
    lexer.skip(operator.len());
    Ok(true)
}

fn brackets(lexer: &Lexer, first: char, open: &mut Vec<char>) -> Outcome<()> {
    match first {
        '{' => open.push('}'),
        '(' => open.push(')'),
        '[' => open.push(']'),
        '}' | ')' | ']' => match open.pop() {
            Some(expected) if expected == first => {}
            Some(expected) => return lexer.wrong(format!("unexpected '{first}', expected '{expected}'")),
            None => return lexer.wrong(format!("unexpected '{first}'")),
        },
        _ => {}
    }
    Ok(())
}

/// The length of `digits`, where an underscore may stand between two.
fn digits(text: &str, is_digit: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    let mut length = 0;
    loop {
        match bytes.get(length) {
            Some(b) if is_digit(*b) => length += 1,
            Some(b'_') if length > 0 && bytes.get(length + 1).is_some_and(|b| is_digit(*b)) => length += 2,
            _ => return length,
        }
    }
}

fn number(lexer: &mut Lexer) -> Outcome<()> {
    let rest = lexer.rest();
    let decimal = |text: &str| digits(text, |b| b.is_ascii_digit());
    let whole = decimal(rest);
    let exponent = |from: usize| {
        let Some(after) = rest[from..].strip_prefix(['e', 'E']) else { return 0 };
        let sign = usize::from(after.starts_with(['+', '-']));
        match decimal(&after[sign..]) {
            0 => 0,
            n => 1 + sign + n,
        }
    };
    let fraction = match rest[whole..].strip_prefix('.').map(&decimal) {
        Some(n) if n > 0 => n + 1,
        _ => 0,
    };
    let power = exponent(whole + fraction);
    let after_dot = matches!(lexer.source.as_bytes()[..lexer.at].last(), Some(b'.'));
    if fraction + power > 0 && !after_dot {
        let length = whole + fraction + power;
        let Ok(value) = rest[..length].replace('_', "").parse() else {
            return lexer.wrong("not a number");
        };
        lexer.push(Token::Float(value));
        lexer.skip(length);
        return Ok(());
    }
    integer(lexer, rest, whole)
}

fn integer(lexer: &mut Lexer, rest: &str, whole: usize) -> Outcome<()> {
    let prefixed = |radix: u32| {
        let after = rest.get(2..).unwrap_or_default();
        let skipped = usize::from(after.starts_with('_'));
        match digits(&after[skipped..], |b| char::from(b).is_digit(radix)) {
            0 => None,
            n => Some((2, 2 + skipped + n, radix)),
        }
    };
    let special = match rest.as_bytes().get(..2) {
        Some(b"0x" | b"0X") => prefixed(16),
        Some(b"0o" | b"0O") => prefixed(8),
        Some(b"0b" | b"0B") => prefixed(2),
        _ => None,
    };
    let zeros = digits(rest, |b| b == b'0');
    let (from, length, radix) = special.unwrap_or((0, if zeros > 0 { zeros } else { whole }, 10));
    let text = rest[from..length].replace('_', "");
    if text.len() > 4300 {
        return lexer.wrong("an integer has more than 4300 digits");
    }
    let Some(value) = BigInt::parse_bytes(text.as_bytes(), radix) else { return lexer.wrong("not a number") };
    lexer.push(Token::Int(value));
    lexer.skip(length);
    Ok(())
}

fn string(lexer: &mut Lexer, quote: char) -> Outcome<()> {
    let rest = lexer.rest();
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    let Some((end, _)) = end else { return lexer.wrong("a string does not end") };
    let Some(text) = unescaped(&rest[1..end]) else { return lexer.wrong("a string has an unusable escape") };
    lexer.push(Token::Str(text));
    lexer.skip(end + 1);
    Ok(())
}

/// Python's `unicode-escape`.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let first = after.chars().next()?;
        let hex = |length: usize| {
            let code = u32::from_str_radix(after.get(1..1 + length)?, 16).ok()?;
            Some((char::from_u32(code)?, 1 + length))
        };
        let (c, length) = match first {
            '\n' => (None, 1),
            'n' => (Some('\n'), 1),
            't' => (Some('\t'), 1),
            'r' => (Some('\r'), 1),
            'a' => (Some('\x07'), 1),
            'b' => (Some('\x08'), 1),
            'f' => (Some('\x0c'), 1),
            'v' => (Some('\x0b'), 1),
            '\\' | '\'' | '"' => (Some(first), 1),
            'x' => hex(2).map(|(c, n)| (Some(c), n))?,
            'u' => hex(4).map(|(c, n)| (Some(c), n))?,
            'U' => hex(8).map(|(c, n)| (Some(c), n))?,
            'N' => return None,
            '0'..='7' => {
                let length = after.bytes().take(3).take_while(|b| (b'0'..b'8').contains(b)).count();
                (Some(char::from_u32(u32::from_str_radix(&after[..length], 8).ok()?)?), length)
            }
            _ => {
                out.push('\\');
                (Some(first), first.len_utf8())
            }
        };
        out.extend(c);
        rest = &after[length..];
    }
    out.push_str(rest);
    Some(out)
}
