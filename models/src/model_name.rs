//! The name of a model, as people know it.
//!
//! In: a text that a file states. Out: the name, or none. Invariant: a name is one line of at most [`LONGEST`] bytes that shows
//! as it is written: no control characters, none that turn or hide text. It comes from what a file says, never from where the
//! file is, so that a copy elsewhere gives the same bytes.

/// Longest name, in bytes.
const LONGEST: usize = 200;

/// The name that a text is, if it can be one.
pub(crate) fn stated(text: &str) -> Option<String> {
    let name = text.trim();
    let is_name = !name.is_empty() && name.len() <= LONGEST && !name.contains(is_hidden);
    is_name.then(|| name.to_string())
}

/// Characters that do not show, or change the direction of what does.
fn is_hidden(c: char) -> bool {
    let invisible = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{2069}'];
    c.is_control() || c == '\u{feff}' || invisible.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_line() {
        let long = "x".repeat(LONGEST + 1);
        for (text, name) in [
            ("Qwen3 0.6B", Some("Qwen3 0.6B")),
            (" padded\n", Some("padded")),
            ("", None),
            (" ", None),
            ("two\nlines", None),
            ("\u{1b}[31mred", None),
            ("two\u{2028}lines", None),
            ("\u{202e}drawkcab", None),
            ("\u{200b}", None),
            (&long[1..], Some(&long[1..])),
            (long.as_str(), None),
        ] {
            assert_eq!(stated(text).as_deref(), name, "{text:?}");
        }
    }
}
