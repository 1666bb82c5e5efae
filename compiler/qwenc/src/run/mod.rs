//! `qwenc run`: compiles a model once and starts it; `qwenc cache`: the executables that are kept for that.
//!
//! In: a model, flags of `compile`, flags of the executable. Out: this process becomes the executable. Invariant: a start
//! from the cache reads no weights and asks nothing of the compiler.

mod cache;
mod key;

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::{json, Value};

use crate::args::{Cache as CacheArgs, CacheCommand, Compile, Emit, Run, WeightsPlace};
use crate::inspect::print;
use crate::job::Unnamed;
use crate::{compile, executable, interrupt, note, Misuse};

use cache::{Cache, Lock};

/// Runs the command; returns only if the executable cannot be started.
pub fn run(args: &Run) -> Result<()> {
    let decided = args.compile.output.is_some()
        || args.compile.emit != Emit::Exe
        || args.compile.explain
        || args.compile.place != WeightsPlace::Embed;
    if decided {
        let what =
            "run takes no --output, --emit, --explain and --weights: it keeps executables in a cache; use \
                    `qwenc compile`";
        return Err(Misuse(what.to_string()).into());
    }
    let key = key::of(&args.compile)?;
    let cache = Cache::of_user()?;
    cache.create()?;
    let (program, lock) = ready(&cache, &key, args)?;
    keep_across_exec(&lock)?;
    let words = words(args, &cache, &key);
    // On success this process is the executable, which inherits the lock.
    let failed = process::Command::new(&program).args(words).exec();
    Err(failed).with_context(|| format!("{}: starting the executable", program.display()))
}

/// The executable, compiled if it is missing, and the lock that keeps it while it runs.
fn ready(cache: &Cache, key: &str, args: &Run) -> Result<(PathBuf, Lock)> {
    let waits = || note("waiting for another qwenc that compiles or removes this model");
    loop {
        let lock = cache.shared(key, waits)?;
        if let Some(program) = cache.program(key) {
            cache.touch(key);
            return Ok((program, lock));
        }
        drop(lock);
        let lock = cache.exclusive(key)?;
        // Another process may have been faster.
        if cache.program(key).is_none() {
            make(cache, key, &args.compile)?;
        }
        drop(lock);
        // The model runs whether or not other entries can be removed.
        if let Err(e) = cache.trim(args.exe_cache_size, key) {
            note(&format!("note: {e:#}"));
        }
    }
}

/// Compiles into the cache, under the entry's lock.
fn make(cache: &Cache, key: &str, args: &Compile) -> Result<()> {
    note(&format!("compiling {} once; it is kept in {}", args.model.display(), cache.folder().display()));
    let made = cache.begin(key)?;
    interrupt::removes(made.clone());
    let output = made.join("program").join(name(&args.model));
    let compiled =
        compile::pipeline(&Compile { output: Some(output.clone()), ..args.clone() }, Unnamed::File);
    let about = compiled.and_then(|_| about(&output, args));
    match about.and_then(|about| cache.finish(key, &made, &about)) {
        Ok(()) => Ok(()),
        Err(e) => {
            // The error is told; what cannot be removed now the next run removes.
            let _ = std::fs::remove_dir_all(&made);
            Err(if is_full(&e) { e.context(full(cache)) } else { e })
        }
    }
}

/// Whether an error says that a disk is full.
fn is_full(error: &anyhow::Error) -> bool {
    let full = |e: &std::io::Error| e.kind() == ErrorKind::StorageFull;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(full))
}

/// Advice for a full disk.
fn full(cache: &Cache) -> String {
    let folder = cache.folder().display();
    format!("{folder}: no room for the executable; run `qwenc cache clear`, or set QWENC_CACHE to a folder on another disk")
}

/// The object that stands beside an executable in the cache.
fn about(program: &Path, args: &Compile) -> Result<Value> {
    let said: Value = serde_json::from_str(&executable::run(program, &["info", "--json"])?)
        .with_context(|| format!("{}: reading `info --json`", program.display()))?;
    let model = args.model.canonicalize().unwrap_or_else(|_| args.model.to_path_buf());
    Ok(json!({
        "model": model.display().to_string(),
        "weights": said["model"]["weight_type"],
        "chat_template": said["chat_template"],
    }))
}

/// Name of the executable: the model's, as far as it makes a file name that is easy to read in a list of processes.
fn name(model: &Path) -> String {
    let last = model.canonicalize().unwrap_or_else(|_| model.to_path_buf());
    let stem = match last.is_dir() {
        true => last.file_name(),
        false => last.file_stem(),
    };
    let text = stem.map(OsStr::to_string_lossy).unwrap_or_default();
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = text.trim_start_matches(['.', '-']).chars().take(100).map(kept).collect();
    match name.is_empty() {
        true => "qwen".to_string(),
        false => name,
    }
}

/// Arguments of the executable: a command of its own after `--`, else `chat`, or `generate` for a model without a chat
/// template.
fn words(args: &Run, cache: &Cache, key: &str) -> Vec<OsString> {
    let own = args.flags.first().is_some_and(|word| !word.to_string_lossy().starts_with('-'));
    let (mut words, mut last) = (Vec::new(), Vec::new());
    match args.message() {
        Some(message) if !own && !cache.has_template(key) => {
            words.push("generate".into());
            last = vec![OsString::from("--"), message.into()];
        }
        Some(message) if !own => words.extend(["chat".into(), "--prompt".into(), message.into()]),
        None if !own => words.push("chat".into()),
        message => last.extend(message.map(OsString::from)),
    }
    words.extend(args.flags.iter().cloned());
    words.extend(last);
    words
}

/// Lets the executable inherit the lock, which its file would otherwise lose on `exec`.
fn keep_across_exec(lock: &Lock) -> Result<()> {
    // SAFETY: F_SETFD with 0 clears FD_CLOEXEC of a descriptor that `lock` keeps open.
    match unsafe { libc::fcntl(lock.0.as_raw_fd(), libc::F_SETFD, 0) } {
        -1 => Err(std::io::Error::last_os_error()).context("passing on the lock of the cache's entry"),
        _ => Ok(()),
    }
}

/// `qwenc cache`.
pub fn cache(args: &CacheArgs) -> Result<()> {
    let cache = Cache::of_user()?;
    match args.what {
        CacheCommand::List => list(&cache),
        CacheCommand::Clear => {
            let (removed, bytes, used) = cache.clear()?;
            let kept = match used {
                0 => String::new(),
                n => format!("; {n} in use kept"),
            };
            print(format!("{removed} executables removed, {:.1} MB{kept}\n", bytes as f64 / 1e6).as_bytes())
        }
    }
}

fn list(cache: &Cache) -> Result<()> {
    let entries = cache.entries()?;
    let mut text = String::new();
    for entry in &entries {
        let used = SystemTime::now().duration_since(entry.used).unwrap_or_default().as_secs();
        let about = |name: &str| entry.about[name].as_str().unwrap_or("unknown").to_string();
        text += &format!(
            "{:>10}  {:>12}  {:<5} {}\n",
            format!("{:.1} MB", entry.bytes as f64 / 1e6),
            ago(used),
            about("weights"),
            about("model"),
        );
    }
    let total: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let folder = cache.folder().display();
    let count = match entries.len() {
        1 => "1 executable".to_string(),
        n => format!("{n} executables"),
    };
    text += &format!("{count}, {:.1} MB in {folder}\n", total as f64 / 1e6);
    print(text.as_bytes())
}

/// A time in the past, for a table.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => "now".to_string(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_by_its_cause() {
        let full = anyhow::Error::new(std::io::Error::from(ErrorKind::StorageFull)).context("writing");
        assert!(is_full(&full) && !is_full(&anyhow::anyhow!("writing: disk full")));
    }

    #[test]
    fn names_are_easy_to_read() {
        let names = [
            ("/a/Qwen3-0.6B-Q8_0.gguf", "Qwen3-0.6B-Q8_0"),
            ("/a/Mein Modell (neu).bin", "Mein_Modell__neu_"),
            ("/a/--help.gguf", "help"),
            ("/", "qwen"),
        ];
        for (model, expected) in names {
            assert_eq!(name(Path::new(model)), expected);
        }
        assert_eq!([ago(5), ago(61), ago(7300), ago(200_000)], ["now", "1 min ago", "2 h ago", "2 days ago"]);
    }
}
