//! Stand-ins for the shared libraries that dynamic executables need, so that they are linked where there are none.
//!
//! In: the runtime's archive. Out: for each library that the C compiler links with it, one of the same name that has the
//! symbols needed, with their versions, and no code. Invariant: what is linked with stubs needs the same libraries,
//! symbols and versions as what this machine's C compiler links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::Endianness;

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
    let data = fs::read(executable)?;
    let header = FileHeader64::<Endianness>::parse(&*data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, &*data)?;
    let symbols = sections.symbols(endian, &*data, elf::SHT_DYNSYM)?;
    let (mut names, mut all) = (BTreeMap::new(), BTreeMap::<String, Versions>::new());
    let (mut entries, strings) =
        sections.gnu_verneed(endian, &*data)?.ok_or("no versions of symbols in the probe")?;
    let strings = sections.strings(endian, &*data, strings)?;
    while let Some((entry, mut inner)) = entries.next()? {
        let library = String::from_utf8(entry.file(endian, strings)?.to_vec())?;
        while let Some(version) = inner.next()? {
            let name = String::from_utf8(version.name(endian, strings)?.to_vec())?;
            names.insert(version.vna_other.get(endian), (library.clone(), name));
        }
    }
    let (indices, _) = sections.gnu_versym(endian, &*data)?.ok_or("no versions of symbols in the probe")?;
    for (symbol, version) in symbols.iter().zip(indices) {
        let index = version.0.get(endian).index();
        // Local symbols and those without a version are no library's.
        let Some((library, version)) = names.get(&index).filter(|_| symbol.is_undefined(endian)) else {
            continue;
        };
        let name = String::from_utf8(symbol.name(endian, symbols.strings())?.to_vec())?;
        let is_data = symbol.st_type() == elf::STT_OBJECT;
        all.entry(library.clone()).or_default().entry(version.clone()).or_default().insert((name, is_data));
    }
    Ok(all)
}

/// The loader that an executable names.
pub fn interpreter(executable: &Path) -> Result<String, Failure> {
    let data = fs::read(executable)?;
    let header = FileHeader64::<Endianness>::parse(&*data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, &*data)? {
        if let Some(name) = segment.interpreter(endian, &*data)? {
            return Ok(String::from_utf8(name.to_vec())?);
        }
    }
    Err("the C compiler's executable names no loader".into())
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
