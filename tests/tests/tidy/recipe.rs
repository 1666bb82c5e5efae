//! docs/add-an-op.md, docs/add-a-model.md, docs/add-a-format.md and docs/add-a-target.md against the code: the files they name
//! exist, and those of ops, families and targets name every file that has one.

use std::collections::BTreeSet;

use super::{files, none, read, root};

const RECIPE: &str = "docs/add-an-op.md";
/// The op that the recipe walks through.
const EXAMPLE: &str = "Op::NormSwiglu";

const MODEL_RECIPE: &str = "docs/add-a-model.md";
const FORMAT_RECIPE: &str = "docs/add-a-format.md";
const TARGET_RECIPE: &str = "docs/add-a-target.md";
/// Enums with a variant for each target, in compiler and runtime.
const TARGETS: [&str; 4] = ["Target::", "Code::", "Runner::", "Given::"];
/// The families that the second recipe's reader looks at.
const FAMILIES: [&str; 3] = ["Family::Llama", "Family::Qwen2", "Family::Qwen3"];

/// Paths in code marks.
fn named(text: &str) -> BTreeSet<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|s| s.contains('/') && !s.contains(' ')).map(str::to_string).collect()
}

#[test]
fn the_recipe_names_files_that_exist() {
    for recipe in [RECIPE, MODEL_RECIPE, FORMAT_RECIPE, TARGET_RECIPE] {
        let named = named(&read(recipe));
        assert!(named.len() > 10, "the recipe names only {named:?}");
        let gone = named.iter().filter(|path| !root().join(path).exists());
        none(&gone.map(|path| format!("{recipe}: there is no {path}")).collect::<Vec<_>>());
    }
}

#[test]
fn the_model_recipe_names_every_file_that_families_stand_in() {
    let named = named(&read(MODEL_RECIPE));
    let mut complaints = Vec::new();
    for path in files(".", "rs").into_iter().filter(|p| p.contains("/src/") && !p.contains("/tests/")) {
        let code = read(&path);
        if FAMILIES.iter().any(|family| code.contains(family)) && !named.contains(&path) {
            complaints.push(format!("{MODEL_RECIPE}: {path} asks for the family; name it"));
        }
    }
    none(&complaints);
}

#[test]
fn the_target_recipe_names_every_file_that_asks_for_the_target() {
    let named = named(&read(TARGET_RECIPE));
    let mut complaints = Vec::new();
    for path in files(".", "rs").into_iter().filter(|p| p.contains("/src/") && !p.contains("/tests/")) {
        let code = read(&path);
        let asks = |of: &str| ["Cpu", "Cuda"].iter().any(|target| code.contains(&format!("{of}{target}")));
        if TARGETS.iter().any(|of| asks(of)) && !named.contains(&path) {
            complaints.push(format!("{TARGET_RECIPE}: {path} asks for the target; name it"));
        }
    }
    none(&complaints);
}

#[test]
fn the_recipe_names_every_file_that_ops_stand_in() {
    let text = read(RECIPE);
    let (change, leave) = text.split_once("## Files that name ops").expect("the recipe lists both");
    let (change, leave) = (named(change), named(leave));
    let mut complaints = Vec::new();
    for path in files(".", "rs").into_iter().filter(|p| p.contains("/src/") && !p.contains("/tests/")) {
        let code = read(&path);
        if code.contains(EXAMPLE) && !change.contains(&path) {
            complaints.push(format!("{RECIPE}: {path} has {EXAMPLE}, so a step must name it"));
        }
        let mut before = code.match_indices("Op::").map(|(at, _)| code[..at].chars().next_back());
        let stands = before.any(|c| !c.is_some_and(char::is_alphanumeric));
        if stands && !change.contains(&path) && !leave.contains(&path) {
            complaints.push(format!("{RECIPE}: {path} has ops; name it in a step or in the last section"));
        }
    }
    none(&complaints);
}

/// Documents link to files that exist.
#[test]
fn links_lead_somewhere() {
    let mut complaints = Vec::new();
    for document in files(".", "md") {
        let folder = root().join(&document).parent().expect("a file has a folder").to_path_buf();
        for target in read(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let local = !path.is_empty() && !path.contains("://");
            if local && !folder.join(path).exists() {
                complaints.push(format!("{document}: there is no {target}"));
            }
        }
    }
    none(&complaints);
}
