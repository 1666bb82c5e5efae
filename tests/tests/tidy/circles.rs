//! Circles of modules: files of a crate that need each other cannot be read, or changed, one at a time.
//!
//! In: the `use` trees and paths of every crate's sources, without their tests. Out: modules that need each other, all at once.
//! Invariant: a folder's `mod.rs` and the files below it may need each other, and so may `lib.rs` and any file; other circles are
//! in [`KNOWN`], with a reason.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::{self, Visit};
use syn::{ItemMod, ItemUse, Path, UseTree};

use super::{files, none, read};

/// Crate, a module of the circle, and the reason why it stays.
const KNOWN: [(&str, &str, &str); 8] = [
    (
        "compiler/formats",
        "registry",
        "an enum and its entries: each format names its operand, the registry each format",
    ),
    ("backends/llvm", "tile", "blocks, spans and tiles of one loop nest call each other"),
    ("backends/llvm", "emit", "a unit and the records that are emitted into it"),
    (
        "backends/llvm",
        "builder",
        "the builder asks the CPU's instruction set, whose instructions are built with it",
    ),
    ("runtime/jinja", "value", "values are printed and compared by rules that call templates' functions"),
    ("runtime/jinja", "value::operators", "`%` on texts formats values, whose operators are here"),
    ("runtime/jinja", "lexer", "a tag decides how the text behind it is read"),
    ("models", "import::sentencepiece", "both vocabularies become the same tokenizer.json"),
];

/// Paths that a file names, beginning with `crate`, `super` or `self`.
#[derive(Default)]
struct Named(Vec<Vec<String>>);

fn is_test(item: &ItemMod) -> bool {
    item.attrs.iter().any(|a| a.path().is_ident("cfg"))
}

impl Visit<'_> for Named {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_test(item) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &Path) {
        self.0.push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

impl Named {
    fn tree(&mut self, begin: &mut Vec<String>, tree: &UseTree) {
        let mut with = |name: String, rest: Option<&UseTree>| {
            begin.push(name);
            match rest {
                Some(rest) => self.tree(begin, rest),
                None => self.0.push(begin.clone()),
            }
            begin.pop();
        };
        match tree {
            UseTree::Path(path) => with(path.ident.to_string(), Some(&path.tree)),
            UseTree::Name(name) => with(name.ident.to_string(), None),
            UseTree::Rename(name) => with(name.ident.to_string(), None),
            UseTree::Glob(_) => self.0.push(begin.clone()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(begin, tree)),
        }
    }
}

/// The module of a source file, as segments: none for `lib.rs`.
fn module(file: &str) -> Vec<String> {
    let name = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if name == "lib" {
        return Vec::new();
    }
    name.split('/').map(str::to_string).collect()
}

/// The path from the crate's root that `path`, written in `module`, begins with.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|s| *s == "super").count();
            Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat())
        }
        _ => None,
    }
}

/// Circles of a crate whose sources are these, by the path below `src`: the modules of each, sorted.
fn circles(sources: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let modules: Vec<Vec<String>> = sources.keys().map(|file| module(file)).collect();
    let mut needs = DiGraphMap::<usize, ()>::new();
    for (from, (file, text)) in sources.iter().enumerate() {
        let mut named = Named::default();
        named.visit_file(&syn::parse_file(text).unwrap_or_else(|e| panic!("{file}: {e}")));
        for path in &named.0 {
            let Some(whole) = absolute(&modules[from], path) else { continue };
            let known = (1..=whole.len()).rev().find_map(|n| modules.iter().position(|m| *m == whole[..n]));
            let Some(to) = known else { continue };
            let related = |a: &[String], b: &[String]| a.starts_with(b) || b.starts_with(a);
            if !related(&modules[from], &modules[to]) {
                needs.add_edge(from, to, ());
            }
        }
    }
    let found = tarjan_scc(&needs).into_iter().filter(|circle| circle.len() > 1);
    let names = |circle: Vec<usize>| {
        let mut names: Vec<String> = circle.iter().map(|&m| modules[m].join("::")).collect();
        names.sort();
        names
    };
    found.map(names).collect()
}

/// Sources of each crate of the workspace, by its folder and then by the path below `src`.
fn crates() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in ["compiler", "backends", "runtime", "models", "tests"].iter().flat_map(|f| files(f, "rs")) {
        if let Some((folder, path)) = file.split_once("/src/") {
            if !path.starts_with("bin/") && path != "main.rs" && !folder.contains("fuzz") {
                all.entry(folder.to_string()).or_default().insert(path.to_string(), read(&file));
            }
        }
    }
    all
}

#[test]
fn modules_of_a_crate_do_not_need_each_other() {
    let all = crates();
    assert!(all.len() > 20, "{} crates", all.len());
    let (mut complaints, mut used) = (Vec::new(), BTreeSet::new());
    for (folder, sources) in &all {
        for circle in circles(sources) {
            let known =
                KNOWN.iter().position(|(of, module, _)| of == folder && circle.iter().any(|m| m == module));
            match known {
                Some(number) => drop(used.insert(number)),
                None => complaints.push(format!(
                    "{folder}: {} need each other; move what both need into a file of its own, or name the circle here",
                    circle.join(", ")
                )),
            }
        }
    }
    let stale = KNOWN.iter().enumerate().filter(|(number, _)| !used.contains(number));
    complaints.extend(stale.map(|(_, (folder, module, _))| {
        format!("{folder}: {module} is in no circle any more; take it off the list")
    }));
    none(&complaints);
}

#[test]
fn circles_are_found_and_families_are_none() {
    let found = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect())
    };
    let names = |circle: &[&str]| vec![circle.iter().map(|m| m.to_string()).collect::<Vec<_>>()];
    let two =
        [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::a::g(); }")];
    assert_eq!(found(&two), names(&["a", "b"]));
    let tests = "#[cfg(test)] mod tests { use crate::a::A; }";
    assert!(found(&[two[1], ("b.rs", tests)]).is_empty());
    let nested = [
        ("a/mod.rs", "mod c; use c::C;"),
        ("a/c.rs", "use super::{d::D, A};"),
        ("a/d.rs", "use crate::a::c;"),
    ];
    assert_eq!(found(&nested), names(&["a::c", "a::d"]));
    assert!(found(&nested[..2]).is_empty());
    assert!(found(&[("a.rs", "use crate::{b, c};"), ("b.rs", "use crate::c::*;"), ("c.rs", "")]).is_empty());
}
