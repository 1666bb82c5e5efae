//! Commands in the documents against clap's definitions: what a document shows exists, and README.md
//! shows every flag there is.
//!
//! In: `args/` of the driver and `cli/` of the runtime, read as text. Out: flags by command.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, none, read};

/// Flag to the values it takes, where they are a closed list.
type Flags = BTreeMap<String, Vec<String>>;

/// Structs, enums and their members, as far as clap's attributes tell.
#[derive(Default)]
struct Definitions {
    flags: BTreeMap<String, Vec<(String, String)>>,
    flattened: BTreeMap<String, Vec<String>>,
    variants: BTreeMap<String, Vec<(String, String)>>,
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    out
}

/// `Option<T>` and `Vec<T>` to `T`.
fn inner(ty: &str) -> String {
    ty.split('<').next_back().unwrap_or_default().trim_end_matches(['>', ',']).to_string()
}

impl Definitions {
    fn of(text: &str) -> Definitions {
        let mut found = Definitions::default();
        let (mut item, mut attribute) = (String::new(), String::new());
        for line in text.lines() {
            if line == "}" {
                item.clear();
            }
            let line = line.trim();
            let words: Vec<&str> = line.split([' ', '(', ')', ',']).filter(|w| !w.is_empty()).collect();
            match words.as_slice() {
                ["pub", "struct" | "enum", name, "{"] => item = (*name).to_string(),
                _ if line.starts_with("#[arg(") || line.starts_with("#[command(flatten") => {
                    attribute = line.to_string();
                    continue;
                }
                ["pub", field, ty, ..] if field.ends_with(':') => {
                    found.field(&item, &attribute, field.trim_end_matches(':'), &inner(ty));
                }
                [variant, rest @ ..] if line.ends_with(',') && variant.starts_with(char::is_uppercase) => {
                    let of = rest.first().map_or(String::new(), |t| (*t).to_string());
                    found.variants.entry(item.clone()).or_default().push((kebab(variant), of));
                }
                _ => {}
            }
            if !line.starts_with("//") {
                attribute.clear();
            }
        }
        found
    }

    fn field(&mut self, item: &str, attribute: &str, field: &str, ty: &str) {
        let flags = self.flags.entry(item.to_string()).or_default();
        if attribute.starts_with("#[command(flatten") {
            self.flattened.entry(item.to_string()).or_default().push(ty.to_string());
            return;
        }
        let words: Vec<&str> = attribute.split(['(', ',', ')']).map(str::trim).collect();
        if words.contains(&"short") {
            flags.push((format!("-{}", &field[..1]), ty.to_string()));
        }
        let named = words.iter().find_map(|w| w.strip_prefix("long = \"")).map(|w| w.trim_end_matches('"'));
        if named.is_some() || words.contains(&"long") {
            let name = named.map_or_else(|| kebab(field), str::to_string);
            flags.push((format!("--{name}"), ty.to_string()));
        }
    }

    fn flags_of(&self, item: &str) -> Flags {
        let mut all = Flags::new();
        for (flag, ty) in self.flags.get(item).into_iter().flatten() {
            let values = self.variants.get(ty).into_iter().flatten().map(|(v, _)| v.clone());
            all.insert(flag.clone(), values.collect());
        }
        for part in self.flattened.get(item).into_iter().flatten() {
            all.extend(self.flags_of(part));
        }
        all
    }

    /// Command to flags; those of `top` go with every command.
    fn commands(&self, top: &str) -> BTreeMap<String, Flags> {
        let global = self.flags_of(top);
        let command = |(name, args): &(String, String)| {
            let mut flags = self.flags_of(args);
            flags.extend(global.clone());
            flags.extend([("--help".to_string(), Vec::new()), ("--version".to_string(), Vec::new())]);
            (name.clone(), flags)
        };
        self.variants["Command"].iter().map(command).collect()
    }
}

/// Program to command to flags. An executable is called `./qwen` throughout.
fn programs() -> [(&'static str, BTreeMap<String, Flags>); 2] {
    let qwenc = Definitions::of(
        &["mod", "compile", "faults"].map(|f| read(&format!("compiler/qwenc/src/args/{f}.rs"))).concat(),
    )
    .commands("Args");
    let qwen =
        Definitions::of(&["mod", "shared"].map(|f| read(&format!("runtime/rt/src/cli/{f}.rs"))).concat())
            .commands("Cli");
    [("qwenc", qwenc), ("./qwen", qwen)]
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

fn complain(line: &[String], flags: &Flags) -> Option<String> {
    for (i, word) in line.iter().enumerate().skip(2).filter(|(_, w)| w.starts_with('-') && w.len() > 1) {
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word.as_str(), None),
        };
        let Some(values) = flags.get(flag) else {
            return Some(format!("there is no {flag}"));
        };
        let value = joined.or_else(|| line.get(i + 1).map(String::as_str)).unwrap_or_default();
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
    for document in files(".", "md") {
        for line in command_lines(&read(&document)) {
            let programs = programs();
            let (_, commands) = programs.iter().find(|(p, _)| *p == line[0]).expect("it starts with one");
            count += 1;
            let wrong = match commands.get(&line[1]) {
                None if line[1].starts_with('-') || line[1] == "…" => None,
                None => Some(format!("there is no command {}", line[1])),
                Some(flags) => complain(&line, flags),
            };
            complaints.extend(wrong.map(|w| format!("{document}: `{}`: {w}", line.join(" "))));
        }
    }
    assert!(count > 10, "only {count} commands found in the documents");
    none(&complaints);
}

#[test]
fn the_readme_shows_every_command_and_flag() {
    let readme = read("README.md");
    let words: BTreeSet<&str> = readme.split(|c: char| c.is_whitespace() || "`,|()".contains(c)).collect();
    let mut complaints = Vec::new();
    for (program, commands) in programs() {
        assert!(commands.len() >= 3, "{program} has only {:?}", commands.keys());
        for (command, flags) in commands {
            let usual = ["--help", "--version"];
            for word in flags.keys().filter(|f| !usual.contains(&f.as_str())).chain([&command]) {
                if !words.contains(word.as_str()) {
                    complaints.push(format!("README.md lacks {word} of {program} {command}"));
                }
            }
        }
    }
    none(&complaints);
}
