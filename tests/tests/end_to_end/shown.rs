//! Messages for snapshots. In: a program's words. Out: the same without what differs from machine to
//! machine and day to day.

use qwenc_tests::program::Outcome;
use qwenc_tests::{data, variants};

/// `name`, the exit code, and what was said on standard error.
pub fn refusal(name: &str, code: i32, outcome: Outcome) -> String {
    format!("{name}\n  exit {code}\n  {}\n", stable(outcome.refused(code).trim_end()).replace('\n', "\n  "))
}

/// Paths and hashes as placeholders.
pub fn stable(text: &str) -> String {
    let text = text.replace(data::root().join("models/tests/data").to_str().unwrap(), "[data]");
    let text = placeholders(&text, variants::scratch().to_str().unwrap());
    hashes(&text)
}

/// `SCRATCH/folder-12/x` is `[folder]/x`; which number a folder got depends on the order of the tests.
fn placeholders(text: &str, scratch: &str) -> String {
    let scratch = format!("{scratch}/");
    let mut pieces = text.split(&scratch);
    let mut out = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let end = piece.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(piece.len());
        let (first, rest) = piece.split_at(end);
        out += if first.starts_with("folder-") { "[folder]" } else { "[executable]" };
        out += rest;
    }
    out
}

/// 64 hexadecimal digits are a SHA-256.
fn hashes(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            digits.push(c);
            continue;
        }
        out += if digits.len() == 64 { "[SHA-256]" } else { &digits };
        digits.clear();
        out.extend(Some(c).filter(|&c| c != '\0'));
    }
    out
}
