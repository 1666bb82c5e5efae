//! The picture of ARCHITECTURE.md: crates and their dependencies as a Mermaid diagram, generated from `cargo metadata`.
//!
//! In: the workspace. Out: the diagram. Invariant: a dependency that follows from others is left out, and crates of tests are; what
//! is drawn is the least that implies the column "may use" of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use super::arrows::{ours, packages, Package};
use super::{read, root};

const DOCUMENT: &str = "ARCHITECTURE.md";
/// Crates of tests, which are not drawn.
const TESTS: [&str; 2] = ["qwenc-tests", "qwenc-testing"];

/// Dependencies of each crate that do not follow from its other ones.
fn reduced(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    fn reaches(uses: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
        uses.get(from).into_iter().flatten().any(|next| next == to || reaches(uses, next, to))
    }
    let needed = |of: &BTreeSet<String>| {
        let implied = |to: &&String| of.iter().any(|via| via != *to && reaches(uses, via, to));
        of.iter().filter(|to| !implied(to)).cloned().collect()
    };
    uses.iter().map(|(name, of)| (name.clone(), needed(of))).collect()
}

/// Name of a crate's node: a word of letters, which Mermaid wants.
fn node(name: &str) -> String {
    match name {
        "qwenc" => "driver".to_string(),
        other => other.trim_start_matches("qwenc-").replace('-', "_"),
    }
}

fn diagram(packages: &BTreeMap<String, Package>) -> String {
    let drawn = packages.iter().filter(|(name, _)| !TESTS.contains(&name.as_str()));
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut uses = BTreeMap::new();
    for (name, package) in drawn {
        let (folder, _) = package.folder.split_once('/').unwrap_or((&package.folder, ""));
        folders.entry(folder).or_default().push(name);
        uses.insert(name.clone(), ours(&package.uses));
    }
    let mut text = "```mermaid\nflowchart LR\n".to_string();
    for (folder, names) in folders {
        let _ = writeln!(text, "  subgraph folder_{folder}[{folder}/]");
        for name in names {
            let _ = writeln!(text, "    {}[{name}]", node(name));
        }
        text += "  end\n";
    }
    for (name, of) in reduced(&uses) {
        for other in of {
            let _ = writeln!(text, "  {} --> {}", node(&name), node(&other));
        }
    }
    text + "```\n"
}

#[test]
fn the_picture_is_the_workspace() {
    let expected = diagram(&packages());
    let page = read(DOCUMENT);
    let (before, rest) = page.split_once("```mermaid\n").expect("the page has a diagram");
    let (found, after) = rest.split_once("```\n").expect("the diagram ends");
    let found = format!("```mermaid\n{found}```\n");
    if found != expected && std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        fs::write(root().join(DOCUMENT), format!("{before}{expected}{after}"))
            .expect("the page can be written");
        return;
    }
    assert!(
        found == expected,
        "{DOCUMENT}: the diagram is not the workspace; run INSTA_UPDATE=always cargo test -p qwenc-tests --test tidy; \
         expected:\n{expected}"
    );
}

#[test]
fn what_follows_is_left_out() {
    let uses = [("a", &["b", "c"][..]), ("b", &["c"]), ("c", &[])];
    let set = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<BTreeSet<_>>();
    let uses = uses.iter().map(|(name, of)| (name.to_string(), set(of))).collect();
    let expected = [("a", &["b"][..]), ("b", &["c"]), ("c", &[])];
    assert_eq!(reduced(&uses), expected.iter().map(|(name, of)| (name.to_string(), set(of))).collect());
}
