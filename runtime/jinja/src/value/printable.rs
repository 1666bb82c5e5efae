//! `repr` of strings.
//!
//! In: a text. Out: it in quotes, escaped as Python escapes it. Invariant: single quotes, but for a text that has such
//! and no double ones.

use crate::error::Outcome;
use crate::meter::Writer;

/// True for the noncharacters U+FDD0 to U+FDEF, with which callers mark places in texts: they stay as they are, where
/// Python would escape them. No text that is exchanged has any.
pub(crate) fn is_mark(c: char) -> bool {
    ('\u{fdd0}'..='\u{fdef}').contains(&c)
}

/// True for what Python prints as it is: anything but separators, controls and unassigned characters.
pub(crate) fn is_printable(c: char) -> bool {
    if is_mark(c) {
        return true;
    }
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // Behind another character the standard library escapes exactly those too.
    let pair: String = ['a', c].into_iter().collect();
    pair.escape_debug().nth(1) != Some('\\')
}

/// `repr(text)`.
pub(crate) fn repr(out: &mut Writer, text: &str) -> Outcome<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote)?;
    for c in text.chars() {
        match c {
            '\\' => out.push("\\\\")?,
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            c if c == quote => {
                out.push("\\")?;
                out.push_char(c)?;
            }
            c if is_printable(c) => out.push_char(c)?,
            c => out.push(&match u32::from(c) {
                code @ ..0x100 => format!("\\x{code:02x}"),
                code @ ..0x10000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            })?,
        }
    }
    out.push_char(quote)
}
