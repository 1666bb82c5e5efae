//! Plain technical English: comments begin with the name of the thing, and actors are threads, kernels and clients.
//!
//! In: comments of sources, and the documents. Out: fragments and words to replace. Invariant: help texts, which clap takes from
//! comments, have rules of their own (`reference.rs`).

use super::{files, none, read};

/// First words of a comment that says nothing without the name below it.
const FRAGMENTS: [&str; 8] = ["As", "Of", "What", "That", "Who", "None", "How", "Where"];
/// Words for actors that are not named.
const ACTORS: [&str; 3] = ["nobody", "somebody", "no numbers"];
/// Folders of command lines, whose comments are help texts.
const HELP: [&str; 2] = ["compiler/qwenc/src/args/", "runtime/cli/src/cli/"];

/// First lines of blocks of `///` and `//!`, each with its number.
fn first_lines(text: &str) -> Vec<(usize, &str)> {
    let doc = |line: &str| line.trim_start().starts_with("///") || line.trim_start().starts_with("//!");
    let lines: Vec<&str> = text.lines().collect();
    let first = |i: &usize| doc(lines[*i]) && (*i == 0 || !doc(lines[i - 1]));
    (0..lines.len()).filter(first).map(|i| (i + 1, lines[i].trim_start())).collect()
}

fn is_fragment(comment: &str) -> bool {
    let text = comment.trim_start_matches(['/', '!']).trim_start();
    FRAGMENTS.iter().any(|word| text.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', ':', ','])))
}

#[test]
fn comments_name_the_thing_first() {
    let mut complaints = Vec::new();
    for path in files(".", "rs").into_iter().filter(|path| !HELP.iter().any(|help| path.starts_with(help))) {
        for (number, line) in first_lines(&read(&path)) {
            if is_fragment(line) {
                complaints
                    .push(format!("{path}:{number}: name the thing first, then what is special: {line}"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn actors_are_named() {
    let mut complaints = Vec::new();
    let comment = |line: &str| line.split_once("//").is_some_and(|(_, text)| names_no_actor(text));
    for path in files(".", "rs").into_iter().filter(|path| !path.ends_with("tidy/prose.rs")) {
        let text = read(&path);
        let found = text.lines().enumerate().filter(|(_, line)| comment(line));
        complaints
            .extend(found.map(|(i, line)| format!("{path}:{}: name the actor: {}", i + 1, line.trim())));
    }
    for path in files(".", "md") {
        let text = read(&path);
        let found = text.lines().enumerate().filter(|(_, line)| names_no_actor(line));
        complaints
            .extend(found.map(|(i, line)| format!("{path}:{}: name the actor: {}", i + 1, line.trim())));
    }
    none(&complaints);
}

fn names_no_actor(text: &str) -> bool {
    let text = text.to_lowercase();
    ACTORS.iter().any(|word| text.contains(word))
}

#[test]
fn fragments_are_told_from_sentences() {
    for wrong in ["/// As given.", "    /// Of the bytes.", "/// None: where it ends.", "//! What it is."] {
        assert!(is_fragment(wrong.trim_start()), "{wrong}");
    }
    for right in [
        "/// Offset of the bytes.",
        "/// Whatever comes.",
        "/// Also here.",
        "/// Nonempty.",
        "//! Wherever it is.",
    ] {
        assert!(!is_fragment(right), "{right}");
    }
    assert_eq!(first_lines("/// A.\n/// B.\nfn f() {}\n\n    /// C.\n").len(), 2);
}
