//! Letters: upper and lower case, and what a text consists of.
//!
//! In: texts. Out: texts, or whether all characters are of a kind. Invariant: as Python's methods of the same names.

use super::digits;
use crate::lexer::is_space;
use crate::value::printable;

fn is_cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || is_title(c)
}

/// The four letters that have a third case, between upper and lower.
fn is_title(c: char) -> bool {
    matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}

fn titled(c: char) -> String {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => return "ǅ".into(),
        'Ǉ' | 'ǈ' | 'ǉ' => return "ǈ".into(),
        'Ǌ' | 'ǋ' | 'ǌ' => return "ǋ".into(),
        'Ǳ' | 'ǲ' | 'ǳ' => return "ǲ".into(),
        _ => {}
    }
    let mut upper = c.to_uppercase();
    let first = upper.next().unwrap_or(c);
    std::iter::once(first).chain(upper.flat_map(char::to_lowercase)).collect()
}

/// `text.capitalize()`.
pub(crate) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => titled(first) + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

/// `text.title()`.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.push_str(&titled(c)),
        }
        inside = is_cased(c);
    }
    out
}

/// `text.swapcase()`.
pub(super) fn swap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match (c.is_uppercase(), c.is_lowercase()) {
            (true, _) => out.extend(c.to_lowercase()),
            (_, true) => out.extend(c.to_uppercase()),
            _ => out.push(c),
        }
    }
    out
}

/// `text.casefold()`, which for few letters differs from `lower`.
pub(super) fn fold(text: &str) -> String {
    let folded = |c: char| -> String {
        match c {
            'ß' | 'ẞ' => "ss".into(),
            'ς' => "σ".into(),
            'ſ' => "s".into(),
            'ﬀ'..='ﬆ' | 'ŉ' | 'ǰ' | 'ΐ' | 'ΰ' => {
                c.to_uppercase().flat_map(char::to_lowercase).collect()
            }
            _ => c.to_lowercase().collect(),
        }
    };
    text.chars().map(folded).collect()
}

/// `text.islower()`.
pub(crate) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title(c))
}

/// `text.isupper()`.
pub(crate) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

fn is_titled(text: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for c in text.chars() {
        if c.is_uppercase() || is_title(c) {
            if inside {
                return false;
            }
            (inside, any) = (true, true);
        } else if c.is_lowercase() {
            if !inside {
                return false;
            }
        } else {
            inside = false;
        }
    }
    any
}

/// Marks count as letters in Rust and not in Python.
fn is_alpha(c: char) -> bool {
    c.is_alphabetic() && !(c.is_numeric()) && !is_mark(c)
}

/// A combining mark of one of the scripts that spell vowels with them, or a general one.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c),
        0x300..=0x36f | 0x5b0..=0x5c7 | 0x610..=0x61a | 0x64b..=0x65f | 0x670 | 0x6d6..=0x6dc | 0x6e1..=0x6e8 | 0x6ed
        | 0x900..=0x903 | 0x93a..=0x93b | 0x93e..=0x94f | 0x955..=0x957 | 0x962..=0x963 | 0x981..=0x983
        | 0x9be..=0x9cc | 0x9d7 | 0xa01..=0xa03 | 0xa3e..=0xa4c | 0xb82 | 0xbbe..=0xbcc | 0xc00..=0xc03
        | 0xc3e..=0xc4c | 0xd3e..=0xd4c | 0xe31 | 0xe34..=0xe3a | 0xe4d | 0x102b..=0x103e | 0x17b6..=0x17c8)
}

/// The methods whose names begin with `is`; none for another name.
pub(super) fn is(text: &str, name: &str) -> Option<bool> {
    let all = |kind: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(kind);
    Some(match name {
        "isalnum" => all(&|c| is_alpha(c) || digits::is_numeric(c)),
        "isalpha" => all(&is_alpha),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(&|c| digits::decimal(c).is_some()),
        "isdigit" => all(&digits::is_digit),
        "isnumeric" => all(&digits::is_numeric),
        "isidentifier" => {
            let begins = |c: char| c == '_' || c.is_alphabetic();
            let goes_on = |c: char| begins(c) || digits::decimal(c).is_some();
            text.chars().next().is_some_and(begins) && text.chars().all(goes_on)
        }
        "islower" => is_lower(text),
        "isupper" => is_upper(text),
        "istitle" => is_titled(text),
        "isprintable" => text.chars().all(printable::is_printable),
        "isspace" => all(&is_space),
        _ => return None,
    })
}
