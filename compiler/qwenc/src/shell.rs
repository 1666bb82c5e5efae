//! `qwenc completions` and `qwenc man`.
//!
//! In: a shell, or a folder. Out: a completion script, or man pages. Invariant: both are made from the definition of the
//! command line, as `--help` is.

use std::path::Path;

use anyhow::{Context, Result};

use crate::inspect::print;
use crate::{definition, note};

/// Prints a shell's completion script.
pub fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "qwenc", &mut script);
    print(&script)
}

/// Writes all man pages into a folder, or prints the first.
pub fn man(folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(definition()).render(&mut page)?;
        return print(&page);
    };
    let write = || {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(definition(), folder)
    };
    write().with_context(|| format!("{}: writing man pages", folder.display()))?;
    note(&format!("man pages of qwenc and its commands are in {}", folder.display()));
    Ok(())
}
