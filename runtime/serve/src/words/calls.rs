//! A call of a tool as Qwen's models write it: `{"name": "f", "arguments": {…}}`.
//!
//! In: the text between `<tool_call>` and `</tool_call>`, in pieces. Out: the function's name as soon as it is known,
//! then its arguments as they come. Invariant: what is no such call comes out as content, with its marks.

use serde_json::Value;

use crate::words::Piece;

/// Reads one call after the other.
#[derive(Debug, Default)]
pub struct CallReader {
    text: String,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The name is not known yet.
    #[default]
    Head,
    /// Not in the usual order: it is read as a whole.
    Whole,
    /// Amid the arguments.
    Arguments(Scan),
    /// After them.
    Done,
}

/// State of a scan of a JSON object.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// Result of looking at the beginning of a text.
enum Found<T> {
    It(T),
    NotIt,
    /// More has to come.
    Short,
}

impl CallReader {
    /// More of the text of call `index`.
    pub fn push(&mut self, text: &str, index: usize) -> Vec<Piece> {
        let mut out = Vec::new();
        self.text.push_str(text);
        if matches!(self.state, State::Head) {
            match head(&self.text) {
                Found::It((name, used)) => {
                    self.text.drain(..used);
                    out.push(Piece::Call { index, name });
                    self.state = State::Arguments(Scan::default());
                    self.arguments(index, &mut out);
                }
                Found::NotIt => self.state = State::Whole,
                Found::Short => {}
            }
        } else {
            // The call was counted when it began.
            self.arguments(index.wrapping_sub(1), &mut out);
        }
        out
    }

    fn arguments(&mut self, index: usize, out: &mut Vec<Piece>) {
        let State::Arguments(scan) = &mut self.state else { return };
        let end = self.text.char_indices().find(|&(_, c)| scan.ends(c)).map(|(at, c)| at + c.len_utf8());
        let text: String = self.text.drain(..end.unwrap_or(self.text.len())).collect();
        if end.is_some() {
            self.state = State::Done;
        }
        if !text.is_empty() {
            out.push(Piece::Arguments { index, text });
        }
    }

    /// The end of the text; the next is another call's, with number `index` if none was begun.
    pub fn finish(&mut self, index: usize) -> Vec<Piece> {
        let text = std::mem::take(&mut self.text);
        match std::mem::take(&mut self.state) {
            State::Head | State::Whole => whole(&text, index),
            State::Arguments(_) | State::Done => Vec::new(),
        }
    }
}

/// A call in any order, or content.
fn whole(text: &str, index: usize) -> Vec<Piece> {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let name = value.as_ref().and_then(|v| v["name"].as_str());
    let Some(name) = name else {
        return vec![Piece::Content(format!("<tool_call>{text}</tool_call>"))];
    };
    let arguments = match value.as_ref().map(|v| &v["arguments"]) {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    vec![Piece::Call { index, name: name.to_owned() }, Piece::Arguments { index, text: arguments }]
}

/// The name in `{"name": "…", "arguments":` and the length of all that, up to an object.
fn head(text: &str) -> Found<(String, usize)> {
    let mut at = 0;
    let mut name = String::new();
    for expected in ["{", "\"name\"", ":", "a name", ",", "\"arguments\"", ":", "an object"] {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        if rest.is_empty() {
            return Found::Short;
        }
        match expected {
            "a name" => match string(rest) {
                Found::It((found, used)) => {
                    name = found;
                    at += used;
                }
                Found::NotIt => return Found::NotIt,
                Found::Short => return Found::Short,
            },
            "an object" if rest.starts_with('{') => return Found::It((name, at)),
            "an object" => return Found::NotIt,
            word if rest.starts_with(word) => at += word.len(),
            word if word.starts_with(rest) => return Found::Short,
            _ => return Found::NotIt,
        }
    }
    Found::NotIt
}

/// The JSON string that `text` begins with, and its length.
fn string(text: &str) -> Found<(String, usize)> {
    if !text.starts_with('"') {
        return Found::NotIt;
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let read = serde_json::from_str(&text[..=at]);
                return read.map_or(Found::NotIt, |name| Found::It((name, at + 1)));
            }
            _ => {}
        }
    }
    Found::Short
}

impl Scan {
    /// Whether `c` ends the object.
    fn ends(&mut self, c: char) -> bool {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            '{' | '[' if !self.in_string => self.depth += 1,
            '}' | ']' if !self.in_string => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces of calls cut into `width` characters, joined.
    fn read(texts: &[&str], width: usize) -> (Vec<(String, String)>, String) {
        let (mut reader, mut calls, mut content) = (CallReader::default(), Vec::new(), String::new());
        for text in texts {
            let chars: Vec<char> = text.chars().collect();
            let mut pieces = Vec::new();
            let mut begun = calls.len();
            for chunk in chars.chunks(width) {
                let new = reader.push(&chunk.iter().collect::<String>(), begun);
                begun += new.iter().filter(|p| matches!(p, Piece::Call { .. })).count();
                pieces.extend(new);
            }
            pieces.extend(reader.finish(begun));
            for piece in pieces {
                match piece {
                    Piece::Call { index, name } => {
                        assert_eq!(index, calls.len());
                        calls.push((name, String::new()));
                    }
                    Piece::Arguments { index, text } => {
                        assert_eq!(index + 1, calls.len());
                        calls[index].1 += &text;
                    }
                    Piece::Content(text) => content += &text,
                    Piece::Reasoning(text) => panic!("reasoning among calls: {text}"),
                }
            }
        }
        (calls, content)
    }

    #[test]
    fn calls_cut_anywhere() {
        let texts = [
            "\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"s\": \"}\\\"é\", \"l\": [{}]}}\n",
            "{\"name\":\"a\\u00e9\",\"arguments\":{}}",
            "{\"arguments\": {\"x\": 2}, \"name\": \"odd\"}",
            "{\"name\": \"none\"}",
            "{\"name\": \"text\", \"arguments\": \"{\\\"k\\\": 1}\"}",
        ];
        let expected = [
            ("add", "{\"a\": 1, \"s\": \"}\\\"é\", \"l\": [{}]}"),
            ("aé", "{}"),
            ("odd", "{\"x\":2}"),
            ("none", "{}"),
            ("text", "{\"k\": 1}"),
        ];
        for width in [1, 2, 3, 7, 100] {
            let (calls, content) = read(&texts, width);
            let calls: Vec<_> = calls.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!((calls, content.as_str()), (expected.to_vec(), ""), "by {width}");
        }
    }

    #[test]
    fn what_is_no_call_is_content() {
        for text in ["hello", "{\"name\": 3, \"arguments\": {}}", "{\"name\": \"f", "[]", ""] {
            for width in [1, 100] {
                let (calls, content) = read(&[text], width);
                assert_eq!((calls.len(), content), (0, format!("<tool_call>{text}</tool_call>")));
            }
        }
    }
}
