//! Running programs. In: a command. Out: its exit code and what it said.
//!
//! Invariant: `qwenc()` is the binary of this build: a stale one fails the test with the way out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::SystemTime;

/// Outcome of a program.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Outcome {
    /// Standard output of a program that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// Standard error of a program that refused with this exit code, as a program should.
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(!self.err.contains("panicked") && !self.err.contains("internal error"), "{}", self.err);
        assert_eq!(
            self.err.lines().filter(|line| line.starts_with("error:")).count(),
            1,
            "one error, said once: {}",
            self.err
        );
        self.err
    }
}

/// Runs a command without input.
pub fn run(command: &mut Command) -> Outcome {
    run_with(command, "")
}

/// Runs a command that reads `input`.
pub fn run_with(command: &mut Command, input: &str) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_string();
    // A program that reads nothing closes the pipe.
    let writer = thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `qwenc` with these arguments.
pub fn qwenc(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args);
    command
}

/// The `qwenc` beside the test executable.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = profile().join("qwenc");
        let advice =
            "run `cargo build --workspace` (with this profile) before the tests, as scripts/test.sh does";
        let Ok(made) = modified(&binary) else { panic!("no {}: {advice}", binary.display()) };
        for source in sources(&binary) {
            let newer = modified(&source).is_ok_and(|time| time > made);
            assert!(!newer, "{} is older than {}: {advice}", binary.display(), source.display());
        }
        binary
    })
}

/// `target/<profile>`: test executables are in its `deps`.
pub fn profile() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_path_buf()
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    path.metadata()?.modified()
}

/// The files that cargo says the binary was made of. Manifests change for other members' sake too.
fn sources(binary: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    // Spaces within names are written `\ `.
    let text = text.replace("\\ ", "\0");
    let names = text.split_whitespace().skip(1).filter(|name| !name.contains("/Cargo."));
    names.map(|name| PathBuf::from(name.replace('\0', " "))).collect()
}
