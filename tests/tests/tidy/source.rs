//! Every Rust file: its header, its length, its functions' lengths, its name, its panics.

use super::{files, none, read};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

/// Longer functions, and why a table is their honest form.
const LONG: [(&str, &str, &str); 2] = [
    ("compiler/ir/src/shape.rs", "law", "one arm per op: the shape laws as a table"),
    ("compiler/testing/src/shapes.rs", "parsed", "a graph written out as text"),
];

fn sources() -> Vec<(String, String)> {
    let all = files(".", "rs").into_iter().map(|path| {
        let text = read(&path);
        (path, text)
    });
    let all: Vec<_> = all.collect();
    assert!(all.len() > 100, "only {} files: is the tree whole?", all.len());
    all
}

/// The file without its unit tests; nothing of a file of tests.
fn built<'a>(path: &str, text: &'a str) -> &'a str {
    let tests = ["tests/", "/testing/"].iter().any(|t| path.contains(t));
    match text.find("#[cfg(test)]\nmod tests {") {
        _ if tests => "",
        Some(at) => &text[..at],
        None => text,
    }
}

#[test]
fn files_open_with_what_they_are() {
    let bare = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let complaints: Vec<String> =
        bare.map(|(path, _)| format!("{path}: begin with `//!`: what comes in, what goes out")).collect();
    none(&complaints);
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|(_, text)| text.lines().count() > FILE_LINES);
    let complaints: Vec<String> = long
        .map(|(path, text)| format!("{path}: {} lines; split it by topic", text.lines().count()))
        .collect();
    none(&complaints);
}

/// Name and number of lines of every function. rustfmt puts the closing brace below the first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<&str> = line.trim_start().split(' ').collect();
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "extern", "\"C\""];
        let Some(at) = words.iter().position(|w| !qualifiers.contains(w)) else { continue };
        if words[at] != "fn" || line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        let end = lines[i..].iter().position(|l| *l == format!("{indent}}}"));
        let name = words.get(at + 1).unwrap_or(&"").split(['(', '<']).next().unwrap_or_default();
        found.push((name.to_string(), end.map_or(0, |n| n + 1)));
    }
    found
}

#[test]
fn functions_are_short() {
    let (mut complaints, mut count) = (Vec::new(), 0);
    let mut needed = Vec::new();
    for (path, text) in sources() {
        for (name, lines) in functions(&text) {
            count += 1;
            let listed = LONG.iter().find(|(p, n, _)| *p == path && *n == name);
            match (lines > FUNCTION_LINES, listed) {
                (true, None) => complaints.push(format!("{path}: fn {name} has {lines} lines; split it")),
                (true, Some(entry)) => needed.push(*entry),
                (false, _) => {}
            }
        }
    }
    assert!(count > 500, "only {count} functions found");
    for entry in LONG.iter().filter(|e| !needed.contains(e)) {
        complaints.push(format!("{}: fn {} is short now; take it off the list", entry.0, entry.1));
    }
    none(&complaints);
}

#[test]
fn names_say_what_is_inside() {
    let empty = ["util", "utils", "common", "misc", "helper", "helpers", "prelude"];
    let part = |p: &str| empty.contains(&p.trim_end_matches(".rs"));
    let complaints: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path.split('/').any(part))
        .map(|(path, _)| format!("{path}: name it after what it holds"))
        .collect();
    none(&complaints);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = ["todo", "unimplemented", "dbg"].map(|m| format!("{m}!("));
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|m| line.contains(m.as_str())) {
                complaints.push(format!("{path}:{}: {mark}..) is left over", i + 1));
            }
        }
    }
    none(&complaints);
}

/// Outside tests a panic says why it cannot happen: in a comment just above, or, for `expect`, in a
/// message that states the fact.
#[test]
fn panics_say_why_they_cannot_happen() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = built(&path, &text).lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let panics = [".unwrap()", "panic!(", "unreachable!("].iter().any(|p| line.contains(p));
            let states_a_fact = |rest: &str| rest.split(' ').count() >= 3;
            let expects = line.split_once(".expect(").is_some_and(|(_, rest)| !states_a_fact(rest));
            let above = lines[i.saturating_sub(3)..i].iter().any(|l| l.trim_start().starts_with("//"));
            if (panics || expects) && !above && !line.trim_start().starts_with("//") {
                complaints.push(format!("{path}:{}: say above why this cannot fail: {}", i + 1, line.trim()));
            }
        }
    }
    none(&complaints);
}
