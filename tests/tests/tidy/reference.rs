//! docs/cli.md against the definitions of both command lines, of which it is generated.
//!
//! In: the definitions. Out: the page. Invariant: every default of a flag stands in the flag's help text, since `--help` and
//! the page show it there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use clap::{Arg, Command};

use super::commands::programs;
use super::{none, read, root};

const PAGE: &str = "docs/cli.md";

const OPENING: &str = "\
# Command line reference

Every command and flag of `qwenc`, and of the executables that it makes, which are called `./qwen` here. `--help` shows the
same. This page is generated from the definitions in `compiler/qwenc/src/args` and `runtime/cli/src/cli`;
`INSTA_UPDATE=always cargo test -p qwenc-tests --test tidy` writes it again after a change.

Exit codes of both: 0 for success, 2 for a command line that makes no sense, 1 for any other error. Results go to standard
output, messages to standard error. Environment variables are in [environment.md](environment.md).
";

/// The flags of a group, and the commands that have it.
struct Group<'a> {
    commands: Vec<&'a str>,
    flags: Vec<&'a Arg>,
}

/// Visible flags of a command by heading, those without heading first.
fn by_heading(command: &Command) -> BTreeMap<Option<&str>, Vec<&Arg>> {
    let mut found: BTreeMap<Option<&str>, Vec<&Arg>> = BTreeMap::new();
    let usual = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()).filter(usual) {
        found.entry(arg.get_help_heading()).or_default().push(arg);
    }
    found
}

/// The groups that several commands have, by heading.
fn shared(program: &Command) -> BTreeMap<&str, Group<'_>> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for command in program.get_subcommands() {
        for (heading, flags) in by_heading(command) {
            if let Some(heading) = heading {
                let group =
                    groups.entry(heading).or_insert(Group { commands: Vec::new(), flags: Vec::new() });
                group.commands.push(command.get_name());
                for flag in flags {
                    if !group.flags.iter().any(|f| f.get_id() == flag.get_id()) {
                        group.flags.push(flag);
                    }
                }
            }
        }
    }
    groups.retain(|_, group| group.commands.len() > 1);
    groups
}

/// `- `-o`, `--output FILE`: File to write`, with the values that the flag takes.
fn item(arg: &Arg) -> String {
    let takes = arg.get_action().takes_values();
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.to_string());
    let value = value.unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
    let mut names: Vec<String> = arg.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
    names.extend(arg.get_long().map(|long| match takes {
        true => format!("`--{long} {value}`"),
        false => format!("`--{long}`"),
    }));
    if arg.is_positional() {
        names.push(format!("`{value}`"));
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("- {}: {help}\n", names.join(", "));
    for value in arg.get_possible_values().iter().filter(|value| takes && !value.is_hide_set()) {
        let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        let _ = writeln!(text, "  - `{}`{help}", value.get_name());
    }
    text
}

/// The heading of a group of flags, which the other program may have under the same name.
fn group_heading(heading: &str, program: &str) -> String {
    format!("{heading} ({program})")
}

/// The link to a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The section of a program's command and of those below it.
fn section(program: &str, command: &mut Command, groups: &BTreeMap<&str, Group>, page: &mut String) {
    let usage = command.render_usage().to_string().replace("Usage: ", "");
    let name = command.get_bin_name().unwrap_or_default().to_string();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n### {name}\n\n{about}.\n\n    {usage}\n\n");
    let mut links = Vec::new();
    for (heading, flags) in by_heading(command) {
        match heading.filter(|heading| groups.contains_key(heading)) {
            Some(heading) => {
                links.push(format!("[{heading}](#{})", anchor(&group_heading(heading, program))));
            }
            None => flags.into_iter().for_each(|flag| page.push_str(&item(flag))),
        }
    }
    if !links.is_empty() {
        let _ = writeln!(page, "- Groups of flags: {}", links.join(", "));
    }
    if let Some(help) = command.get_after_help() {
        let text = help.to_string().replace("Examples:\n", "").replace("\n  ", "\n    ");
        let _ = write!(page, "\nExamples:\n\n    {}\n", text.trim_start());
    }
    for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
        section(program, below, &BTreeMap::new(), page);
    }
}

/// The whole page.
fn page() -> String {
    let mut page = OPENING.to_string();
    for mut program in programs() {
        let name = program.get_bin_name().unwrap_or_default().to_string();
        let about = program.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(page, "\n## {name}\n\n{about}.\n\n");
        let visible = |command: &&Command| command.get_name() != "help" && !command.is_hide_set();
        for command in program.get_subcommands().filter(visible) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let called = format!("{name} {}", command.get_name());
            let link = anchor(&called);
            let _ = writeln!(page, "- [`{called}`](#{link}): {about}");
        }
        let copy = program.clone();
        let groups = shared(&copy);
        for command in program.get_subcommands_mut().filter(|c| c.get_name() != "help" && !c.is_hide_set()) {
            section(&name, command, &groups, &mut page);
        }
        for (heading, group) in &groups {
            let heading = group_heading(heading, &name);
            let _ = write!(page, "\n### {heading}\n\nFlags of {}.\n\n", group.commands.join(", "));
            group.flags.iter().for_each(|flag| page.push_str(&item(flag)));
        }
    }
    page
}

#[test]
fn the_reference_is_generated() {
    let expected = page();
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        fs::write(root().join(PAGE), &expected).expect("the page can be written");
    }
    let found = read(PAGE);
    let line = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
    assert!(
        expected == found,
        "{PAGE} is not what the definitions say; first difference (expected, found): {line:?}; read the change, then run \
         INSTA_UPDATE=always cargo test -p qwenc-tests --test tidy"
    );
}

/// Links to headings lead to one each.
#[test]
fn headings_of_the_reference_are_unique() {
    let page = page();
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let mut anchors: Vec<String> = headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect();
    let links = page.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    let mut complaints: Vec<String> = links
        .filter(|link| !anchors.iter().any(|anchor| anchor == link))
        .map(|link| format!("{PAGE}: there is no heading #{link}"))
        .collect();
    anchors.sort();
    let twice = anchors.windows(2).filter(|pair| pair[0] == pair[1]);
    complaints.extend(twice.map(|pair| format!("{PAGE}: there are two headings #{}", pair[0])));
    none(&complaints);
}

/// A default is written `(default: 64)`, in `--help` as on the page.
#[test]
fn defaults_stand_in_help_texts() {
    let mut complaints = Vec::new();
    for program in programs() {
        for command in program.get_subcommands().chain([&program]) {
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let name = format!("{} {}: --{}", program.get_name(), command.get_name(), arg.get_id());
                if help.contains("[default") {
                    complaints.push(format!("{name}: write (default: …), not [default: …]"));
                }
                if !arg.get_action().takes_values() {
                    continue;
                }
                for value in arg.get_default_values() {
                    let wanted = format!("(default: {})", value.to_string_lossy());
                    if !help.contains(&wanted) || !arg.is_hide_default_value_set() {
                        complaints
                            .push(format!("{name}: the help text should end in {wanted}, and hide clap's"));
                    }
                }
            }
        }
    }
    none(&complaints);
}
