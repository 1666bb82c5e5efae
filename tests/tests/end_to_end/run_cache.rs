//! `qwenc run` and `qwenc cache`: a model is compiled once, started from the cache afterwards, and compiled again when it
//! changes; nothing half-made is ever started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qwenc_tests::program::{qwenc, run, Outcome};
use qwenc_tests::variants::{folder, listing};
use qwenc_tests::{data, forged};

/// A cache of its own for a test.
struct Cache(PathBuf);

impl Cache {
    fn new() -> Cache {
        Cache(folder().join("executables"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = qwenc(args);
        command.env("QWENC_CACHE", &self.0);
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        run(&mut self.command(args))
    }

    /// Names of entries: keys without an ending.
    fn entries(&self) -> Vec<String> {
        let all = if self.0.exists() { listing(&self.0) } else { Vec::new() };
        all.into_iter().filter(|name| !name.contains('.')).collect()
    }
}

fn compiles(done: &Outcome) -> bool {
    done.err.contains("compiling ")
}

#[test]
fn the_second_run_starts_from_the_cache() {
    let cache = Cache::new();
    let ask = ["run", "sample", "What is the capital of Japan?", "--", "--no-think"];
    let first = cache.run(&ask);
    assert!(compiles(&first) && first.err.contains(cache.0.to_str().unwrap()), "{}", first.err);
    assert_eq!(first.ok(), "The capital of Japan is Tokyo.\n");
    let second = cache.run(&ask);
    assert_eq!(second.err, "");
    assert_eq!(second.ok(), "The capital of Japan is Tokyo.\n");
    // Commands of the executable, and the same in another form.
    let words = ["run", "-m", "sample", "--", "generate", "The capital of Brazil is"];
    assert_eq!(cache.run(&words).ok(), " Brasília.\n");
    assert_eq!(cache.run(&["run", "sample", "-p", "Hello!", "--", "-n", "0"]).code, Some(0));
    // A chat, which ends with its input.
    assert_eq!(cache.run(&["run", "sample"]).code, Some(0));
    assert_eq!(cache.entries().len(), 1);
    let listed = cache.run(&["cache", "list"]).ok();
    assert!(
        listed.contains("sample") && listed.contains("bf16") && listed.contains("1 executable,"),
        "{listed}"
    );
    assert!(cache.run(&["cache", "clear"]).ok().starts_with("1 executables removed"));
    assert_eq!(listing(&cache.0), [""; 0]);
}

/// The shortest of some runs, so that other work on the machine matters little.
fn shortest(mut command: impl FnMut() -> Command) -> Duration {
    let time = |_| {
        let start = Instant::now();
        run(&mut command()).ok();
        start.elapsed()
    };
    (0..7).map(time).min().unwrap()
}

#[test]
fn a_start_from_the_cache_takes_what_the_executable_takes() {
    let cache = Cache::new();
    let ask = ["run", "sample", "--", "info"];
    cache.run(&ask).ok();
    let entry = cache.0.join(&cache.entries()[0]);
    let program = entry.join("program").join(&listing(&entry.join("program"))[0]);
    let own = shortest(|| {
        let mut command = Command::new(&program);
        command.arg("info");
        command
    });
    let through = shortest(|| cache.command(&ask));
    // This build of qwenc may be unoptimised.
    assert!(through < own + Duration::from_millis(60), "{through:?} instead of {own:?}");
}

#[test]
fn runs_at_the_same_time_compile_once() {
    let cache = Cache::new();
    let start = |_| {
        let mut command = cache.command(&["run", "sample", "--", "generate", "The capital of Brazil is"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (0..4).map(start).collect();
    let mut compiled = 0;
    for child in started {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), " Brasília.\n");
        compiled += usize::from(said.contains("compiling "));
    }
    assert_eq!((compiled, cache.entries().len()), (1, 1));
}

#[test]
fn a_killed_compilation_leaves_no_entry() {
    let cache = Cache::new();
    let mut child = cache.command(&["run", "sample", "--", "info"]).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let begun = || cache.0.exists() && listing(&cache.0).iter().any(|name| name.ends_with(".new"));
    while !begun() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no compilation was seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(cache.entries(), [""; 0]);
    let again = cache.run(&["run", "sample", "--", "generate", "The capital of Brazil is"]);
    assert!(compiles(&again), "{}", again.err);
    assert_eq!(again.ok(), " Brasília.\n");
    assert!(listing(&cache.0).iter().all(|name| !name.ends_with(".new")));
}

#[test]
fn a_changed_model_is_compiled_again() {
    let cache = Cache::new();
    let model = forged::copy(&data::folder("qwen3-tied"));
    let ask =
        ["run", model.to_str().unwrap(), "--", "generate", "--tokens", "1,2,3", "--print-tokens", "-n", "2"];
    let first = cache.run(&ask);
    assert!(compiles(&first), "{}", first.err);
    assert!(!compiles(&cache.run(&ask)));
    // Another file with the same bytes: only its inode and time differ.
    let (weights, other) = (model.join("model.safetensors"), model.join("other"));
    std::fs::copy(&weights, &other).unwrap();
    std::fs::rename(&other, &weights).unwrap();
    let second = cache.run(&ask);
    assert!(compiles(&second), "{}", second.err);
    assert_eq!(first.ok(), second.ok());
    // Other flags are another executable; of three, two stay within the size.
    let size = cache.0.join(&cache.entries()[0]).join("program");
    let size = size.join(&listing(&size)[0]).metadata().unwrap().len();
    let limit = (size * 5 / 2).to_string();
    let quantised = [&ask[..2], &["--quant", "f32", "--exe-cache-size", &limit], &ask[2..]].concat();
    assert!(compiles(&cache.run(&quantised)));
    assert_eq!(cache.entries().len(), 2);
    assert!(!compiles(&cache.run(&quantised)));
}

#[test]
fn caches_that_cannot_be_are_told() {
    let none = |args: &[&str]| {
        let mut command = qwenc(args);
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("QWENC_CACHE");
        command
    };
    let said = run(&mut none(&["run", "sample"])).refused(1);
    assert!(said.contains("set HOME, XDG_CACHE_HOME or QWENC_CACHE"), "{said}");
    let file = folder().join("file");
    std::fs::write(&file, "x").unwrap();
    for place in [file.as_path(), Path::new("/proc/no-cache")] {
        let said = run(none(&["run", "sample"]).env("QWENC_CACHE", place)).refused(1);
        assert!(said.contains(place.to_str().unwrap()) && said.contains("QWENC_CACHE"), "{said}");
    }
    let cache = Cache::new();
    let said = cache.run(&["run", "/nowhere/model.gguf"]).refused(1);
    assert!(said.contains("/nowhere/model.gguf: no such file"), "{said}");
    for flags in [&["-o", "x"][..], &["--emit", "plan"], &["--explain"], &["--weights", "external"]] {
        let said = cache.run(&[&["run", "sample"][..], flags].concat()).refused(2);
        assert!(said.contains("qwenc compile"), "{said}");
    }
    assert_eq!(cache.run(&["run", "sample", "--exe-cache-size", "much"]).code, Some(2));
    // A cache that is not there is an empty one.
    assert!(cache.run(&["cache", "list"]).ok().starts_with("0 executables"));
    assert!(cache.run(&["cache", "clear"]).ok().starts_with("0 executables removed"));
}
