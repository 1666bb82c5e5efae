//! Ctrl-C and termination: half-written files are removed before the process ends.
//!
//! In: paths of files and folders in the making. Out: exit code 130, as after SIGINT. Invariant: only paths that this
//! process made are ever removed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

static IN_THE_MAKING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Catches SIGINT, SIGTERM and SIGHUP.
pub fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        for path in IN_THE_MAKING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Best effort: the path may not exist yet, or no longer.
            let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
        }
        qwenc_files::remove_all();
        std::process::exit(130)
    })?;
    Ok(())
}

/// The path is removed if the process is interrupted; scratch folders are without being named here.
pub fn removes(path: PathBuf) {
    IN_THE_MAKING.lock().unwrap_or_else(PoisonError::into_inner).push(path);
}
