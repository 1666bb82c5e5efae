//! Commands in the documents against the definitions of both command lines: each command and flag that a document shows
//! exists.
//!
//! In: the definitions, and every document. Out: a list of what is unknown.

use std::collections::BTreeMap;

use clap::Command;

use super::{files, none, read};

/// Flag to the values it takes, where they are a closed list.
type Flags = BTreeMap<String, Vec<String>>;

/// Both command lines. An executable is called `./qwen` throughout.
pub fn programs() -> [Command; 2] {
    let mut programs = [qwenc::definition().bin_name("qwenc"), qwenc_rt::cli::definition("./qwen")];
    programs.iter_mut().for_each(Command::build);
    programs
}

/// The flags of a command that its help shows.
fn flags(command: &Command) -> Flags {
    let mut all = Flags::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let values = arg.get_possible_values();
        let values =
            values.iter().map(|v| v.get_name().to_string()).filter(|_| arg.get_action().takes_values());
        let values: Vec<String> = values.collect();
        all.extend(arg.get_short().map(|short| (format!("-{short}"), values.clone())));
        all.extend(arg.get_long().map(|long| (format!("--{long}"), values)));
    }
    all
}

/// Code of a document: fenced and indented lines, and code spans.
fn code(text: &str) -> Vec<String> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            found.push(line.trim().trim_start_matches("$ ").to_string());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_string));
        }
    }
    found
}

/// Its command lines as words, up to a comment or pipe.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in code(text) {
        let line = line.trim_start_matches("target/release/").replace("target/demo/qwen ", "./qwen ");
        // `qwenc 0.1.0` is a version.
        let named = line.strip_prefix("qwenc ").or_else(|| line.strip_prefix("./qwen "));
        if named.is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            continue;
        }
        let mut words = Vec::new();
        for (i, part) in line.split('"').enumerate() {
            match i % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_string)),
                _ => words.push(format!("\"{part}\"")),
            }
        }
        let end = words.iter().position(|w| ["#", "|", ">", "<", "&&"].contains(&w.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        found.push(words);
    }
    found
}

/// The first fault of a command line's words after the program's name.
fn complain(mut command: &Command, words: &[String]) -> Option<String> {
    let mut rest = words;
    while let Some((name, after)) = rest.split_first().filter(|_| command.has_subcommands()) {
        if name.starts_with(['-', '[', '<']) || name == "…" {
            break;
        }
        let Some(found) = command.find_subcommand(name) else {
            return Some(format!("there is no command {name}"));
        };
        (command, rest) = (found, after);
    }
    let flags = flags(command);
    for (i, word) in rest.iter().enumerate().take_while(|(_, w)| *w != "--") {
        if !word.starts_with('-') || word.len() == 1 {
            continue;
        }
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word.as_str(), None),
        };
        let Some(values) = flags.get(flag) else {
            return Some(format!("there is no {flag}"));
        };
        let value = joined.or_else(|| rest.get(i + 1).map(String::as_str)).unwrap_or_default();
        let placeholder = value.chars().all(|c| c.is_uppercase());
        if !values.is_empty() && !placeholder && !values.iter().any(|v| v == value) {
            return Some(format!("{flag} takes {values:?}, not {value:?}"));
        }
    }
    None
}

#[test]
fn documented_commands_exist() {
    let (mut complaints, mut count) = (Vec::new(), 0);
    let programs = programs();
    for document in files(".", "md") {
        for line in command_lines(&read(&document)) {
            let program = programs.iter().find(|p| p.get_bin_name() == Some(&line[0]));
            count += 1;
            let wrong = complain(program.expect("it starts with one"), &line[1..]);
            complaints.extend(wrong.map(|w| format!("{document}: `{}`: {w}", line.join(" "))));
        }
    }
    assert!(count > 10, "only {count} commands found in the documents");
    none(&complaints);
}
