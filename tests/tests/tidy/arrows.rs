//! The tables of ARCHITECTURE.md and docs/libraries.md against `cargo metadata`: dependencies between crates, and the crates of
//! each foreign library.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::{none, table};

/// A crate of the workspace as cargo sees it.
pub struct Package {
    description: String,
    /// Path from the root.
    pub folder: String,
    /// Dependencies of the crate itself.
    pub uses: BTreeSet<String>,
    /// Further dependencies of its tests.
    tests_use: BTreeSet<String>,
}

pub fn packages() -> BTreeMap<String, Package> {
    let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let out = Command::new(env!("CARGO")).args(args).current_dir(super::root()).output();
    let out = out.expect("cargo can be run");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON");
    let list = metadata["packages"].as_array().expect("there are packages");
    list.iter().map(|p| (text(&p["name"]), package(p))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_string()
}

fn package(p: &Value) -> Package {
    let all = p["dependencies"].as_array().expect("a list of dependencies");
    let of = |test: bool| all.iter().filter(move |d| (d["kind"] == "dev") == test).map(|d| text(&d["name"]));
    let root = super::root().to_string_lossy().into_owned();
    let manifest = text(&p["manifest_path"]).replace(&format!("{root}/"), "");
    Package {
        description: text(&p["description"]),
        folder: manifest.trim_end_matches("/Cargo.toml").to_string(),
        uses: of(false).collect(),
        tests_use: of(true).collect(),
    }
}

/// Names of a cell, without code marks; `–` is none.
fn names(cell: &str) -> BTreeSet<String> {
    let all = cell.split(',').map(|n| n.trim().trim_matches('`').to_string());
    all.filter(|n| !n.is_empty() && n != "–").collect()
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

pub fn ours(names: &BTreeSet<String>) -> BTreeSet<String> {
    names.iter().filter(|n| n.starts_with("qwenc")).cloned().collect()
}

#[test]
fn the_arrow_table_is_the_workspace() {
    let packages = packages();
    let mut complaints = Vec::new();
    let rows = table("ARCHITECTURE.md", "| folder | crate |");
    let listed: BTreeSet<String> = rows.iter().map(|row| row[1].trim_matches('`').to_string()).collect();
    let real: BTreeSet<String> = packages.keys().cloned().collect();
    assert_eq!(listed, real, "crates of the table (left) and of the workspace (right)");
    for row in &rows {
        let name = row[1].trim_matches('`');
        let package = &packages[name];
        // A crate of tests is its tests.
        let mut uses = ours(&package.uses);
        if name == "qwenc-tests" {
            uses.extend(ours(&package.tests_use));
        }
        let checks = [
            ("folder", row[0].trim_matches('`').to_string(), package.folder.clone()),
            ("sentence (Cargo.toml's description)", row[2].clone(), package.description.clone()),
            ("may use", list(&names(&row[3])), list(&uses)),
        ];
        for (what, stated, found) in checks {
            if stated != found {
                complaints.push(format!("{name}: {what}: ARCHITECTURE.md says {stated:?}, it is {found:?}"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn foreign_libraries_live_where_the_tables_say() {
    let packages = packages();
    let mut stated: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table("ARCHITECTURE.md", "| folder | crate |") {
        for foreign in names(&row[4]) {
            let home = row[1].trim_matches('`').to_string();
            let other = stated.insert(foreign.clone(), BTreeSet::from([home]));
            assert_eq!(other, None, "{foreign} lives in one crate only, or belongs in the second table");
        }
    }
    for row in table("docs/libraries.md", "| library | in |") {
        stated.insert(row[0].trim_matches('`').to_string(), names(&row[1]));
    }
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, package) in &packages {
        for foreign in package.uses.difference(&ours(&package.uses)) {
            found.entry(foreign.clone()).or_default().insert(name.clone());
        }
    }
    let mut complaints = Vec::new();
    for library in stated.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let at = |m: &BTreeMap<String, BTreeSet<String>>| m.get(library).map(list).unwrap_or_default();
        if at(&stated) != at(&found) {
            let (stated, found) = (at(&stated), at(&found));
            complaints.push(format!("{library}: the tables put it in [{stated}], it is in [{found}]"));
        }
    }
    none(&complaints);
}

/// Libraries that only tests need are no part of any crate.
#[test]
fn test_libraries_are_for_tests_only() {
    for (name, package) in packages() {
        for library in ["insta", "libloading"] {
            assert!(!package.uses.contains(library), "{name} is built with {library}");
        }
    }
}
