//! Stand-ins for the shared libraries that dynamic executables need, so that they are linked where there are none.
//!
//! In: the runtime's archive. Out: for each library that the C compiler links with it, one of the same name that has the
//! symbols needed, with their versions, and no code. Invariant: what is linked with stubs needs the same libraries,
//! symbols and versions as what this machine's C compiler links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolchain::{compiler, run};
use crate::Failure;

/// An executable as the C compiler makes it.
pub const PROBE: &str = "probe";

/// Symbols by version.
type Versions = BTreeMap<String, BTreeSet<(String, bool)>>;

/// Makes the stubs.
pub fn make(crate_dir: &Path, out: &Path, runtime: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let (source, probe) = (crate_dir.join("build/probe.c"), out.join(PROBE));
    run(compiler().args(["-pie", "-fPIE", "-o"]).arg(&probe).arg(&source))?;
    // A library has all of its needs as undefined symbols, an executable copies some.
    let whole = out.join("libprobe.so");
    let mut command = compiler();
    command.args(["-shared", "-fPIC", "-DWHOLE", "-fno-builtin", "-o"]).arg(&whole).arg(&source);
    command.arg("-Wl,--whole-archive").arg(runtime).arg("-Wl,--no-whole-archive,--as-needed");
    run(command.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]))?;
    let needs = needs(&whole)?;
    fs::remove_file(&whole)?;
    needs.iter().map(|(library, versions)| Ok((library.clone(), stub(library, versions, out)?))).collect()
}

/// Undefined symbols of an executable, by the shared library that defines them.
fn needs(executable: &Path) -> Result<BTreeMap<String, Versions>, Failure> {
    let tables = readelf(executable, &["--version-info", "--dyn-syms"])?;
    let names = versions(&tables);
    let mut all = BTreeMap::<String, Versions>::new();
    for line in tables.lines() {
        // `number: value size type bind visibility section name@version (index)`; those without a version are no library's.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, kind, _, _, "UND", symbol, index] = words[..] else { continue };
        let name = symbol.split('@').next().unwrap_or(symbol);
        let (library, version) =
            names.get(index.trim_matches(['(', ')'])).ok_or_else(|| format!("{symbol}: no library"))?;
        let is_data = kind == "OBJECT";
        let symbols = all.entry(library.to_string()).or_default().entry(version.to_string()).or_default();
        symbols.insert((name.to_string(), is_data));
    }
    match all.is_empty() {
        true => Err("no versions of symbols in the probe".into()),
        false => Ok(all),
    }
}

/// Library and name of each version that an executable needs, by its index.
fn versions(tables: &str) -> BTreeMap<&str, (&str, &str)> {
    let (mut library, mut all) = ("", BTreeMap::new());
    for line in tables.lines() {
        // `offset: Version: 1 File: library Cnt: n`, then `offset: Name: version Flags: none Version: index` for each.
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "Version:", _, "File:", file, ..] => library = file,
            [_, "Name:", name, .., "Version:", index] => {
                all.insert(index, (library, name));
            }
            _ => {}
        }
    }
    all
}

/// The loader that an executable names.
pub fn interpreter(executable: &Path) -> Result<String, Failure> {
    let segments = readelf(executable, &["--segments"])?;
    let (_, rest) = segments
        .split_once("[Requesting program interpreter: ")
        .ok_or("the C compiler's executable names no loader")?;
    Ok(rest.split(']').next().unwrap_or_default().to_string())
}

/// Tables of an ELF file as text, which is the same in every locale.
fn readelf(file: &Path, tables: &[&str]) -> Result<String, Failure> {
    run(Command::new("readelf").env("LC_ALL", "C").arg("--wide").args(tables).arg(file))
}

/// A library with these symbols.
fn stub(library: &str, versions: &Versions, out: &Path) -> Result<PathBuf, Failure> {
    let (mut assembly, mut script) = (String::from("\t.data\n"), String::new());
    for (version, symbols) in versions {
        write!(script, "{version} {{ global:")?;
        for (name, is_data) in symbols {
            let kind = if *is_data { "object" } else { "function" };
            write!(
                assembly,
                "\t.globl {name}\n\t.type {name}, %{kind}\n{name}:\n\t.quad 0\n\t.size {name}, 8\n"
            )?;
            write!(script, " {name};")?;
        }
        script.push_str(" };\n");
    }
    assembly.push_str("\t.section .note.GNU-stack, \"\", %progbits\n");
    let [source, map, made] = ["s", "map", "so"].map(|end| out.join(format!("{library}.{end}")));
    fs::write(&source, assembly)?;
    fs::write(&map, script)?;
    let mut command = compiler();
    command.args(["-shared", "-nostdlib", "-s", "-Wl,--build-id=none", "-o"]).arg(&made).arg(&source);
    command.arg(format!("-Wl,-soname,{library}")).arg(format!("-Wl,--version-script={}", map.display()));
    run(&mut command)?;
    Ok(made)
}
